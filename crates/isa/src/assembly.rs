//! Accesses to memory, in the order of issue.

/// What an instruction does that takes its time: `ld128`, `st32`, `wait`, `barrier`.
pub(crate) fn accesses(stage: &str, assembly: &str) -> Vec<String> {
    let access: fn(&str) -> Option<String> = if stage.contains("NAK") {
        of_nvk
    } else if stage.contains("GEN") {
        of_anv
    } else if stage.contains("IR3") {
        of_turnip
    } else {
        of_radv
    };
    assembly.lines().filter_map(|line| access(line.trim())).collect()
}

fn named(is_store: bool, bits: u32) -> String {
    format!("{}{bits}", if is_store { "st" } else { "ld" })
}

fn of_radv(line: &str) -> Option<String> {
    let operation = line.split_whitespace().next()?;
    let waits = operation == "s_waitcnt" && line.contains("vmcnt");
    if waits || operation == "s_wait_loadcnt" {
        return Some("wait".to_owned());
    }
    if operation == "s_barrier" {
        return Some("barrier".to_owned());
    }
    let access = ["buffer_", "global_"].iter().find_map(|kind| operation.strip_prefix(kind))?;
    let (what, width) = access.split_once('_')?;
    let is_store = match what {
        "load" => false,
        "store" => true,
        _ => return None,
    };
    let bits = match width {
        "dwordx4" | "b128" => 128,
        "dwordx3" | "b96" => 96,
        "dwordx2" | "b64" => 64,
        "dword" | "b32" => 32,
        _ if width.contains("16") || width.contains("short") => 16,
        _ => 8,
    };
    Some(named(is_store, bits))
}

fn of_nvk(line: &str) -> Option<String> {
    let is_access = |word: &&str| word.starts_with("ld.global") || word.starts_with("st.global");
    let word = line.split_whitespace().find(is_access)?;
    let bits = word.rsplit(".b").next()?.split('.').next()?.parse().ok()?;
    Some(named(word.starts_with("st"), bits))
}

fn of_anv(line: &str) -> Option<String> {
    if let Some((_, message)) = line.split_once("ugm MsgDesc: ( ") {
        let is_store = message.starts_with("store");
        if !is_store && !message.starts_with("load") {
            return None;
        }
        let digits = message.split(", V").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?;
        return Some(named(is_store, 32 * digits.parse::<u32>().ok()?));
    }
    let (_, message) = line.split_once("untyped surface ")?;
    // Of the channels that are not touched.
    let mask = message.split("Mask = 0x").nth(1)?.chars().next()?.to_digit(16)?;
    Some(named(message.starts_with("write"), 32 * (4 - mask.count_ones())))
}

fn of_turnip(line: &str) -> Option<String> {
    let starts = |word: &&str| {
        ["ldib.", "stib.", "ldg.", "stg.", "isam"].iter().any(|access| word.starts_with(access))
    };
    let word = line.split_whitespace().find(starts)?;
    let words = word.split(".u32.").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
    Some(named(word.starts_with("st"), 32 * words.unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::accesses;

    #[test]
    fn what_radv_prints_is_taken_apart() {
        let code = "\
BB0:
	s_waitcnt lgkmcnt(0)
	buffer_load_dword v2, v2, s[8:11], 0 ; e0301000
	buffer_load_b128 v[4:7], v3, s[20:23], 0
	buffer_load_dwordx4 v[8:11], v3, s[20:23], 0 offset:512
	s_waitcnt vmcnt(2)
	s_barrier
	v_add_f32 v1, v2, v3
	buffer_store_b64 v[8:9], v1, s[0:3], 0
";
        assert_eq!(
            accesses("Assembly", code),
            ["ld32", "ld128", "ld128", "wait", "barrier", "st64"]
        );
    }
}
