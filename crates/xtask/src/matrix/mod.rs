//! `cargo xtask matrix`: the engine on every driver, and its plans in every WebGPU, that a machine without a GPU can run.
//!
//! | module    | what it holds                                       |
//! |-----------|-----------------------------------------------------|
//! | `drivers` | drivers, and where they come from                   |
//! | `checks`  | what `fallline check` finds on one                  |
//! | `players` | other implementations of WebGPU, and how each plays |
//! | `played`  | what these print                                    |
//! | `page`    | docs/conformance.md                                 |

mod checks;
mod drivers;
mod page;
mod played;
mod players;

use std::{fs, path::Path};

use anyhow::{Context, anyhow, bail};

use self::{
    drivers::{DRIVERS, Driver},
    page::{CHECKS, Change, Row, STEPS, Table},
    players::{PLAYERS, Player, Recordings},
};
use crate::{WrongUsage, cargo, run, say, target_dir};

const PAGE: &str = "docs/conformance.md";

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    /// Of `fallline check`.
    effort: Vec<&'static str>,
    write: bool,
    words: Vec<String>,
}

pub(crate) fn matrix(arguments: &[String]) -> anyhow::Result<()> {
    let options = options(arguments)?;
    let target = fs::canonicalize(target_dir()?)?;
    let [drivers, players] = [
        DRIVERS.iter().map(name_of_driver).collect(),
        PLAYERS.iter().map(name_of_player).collect::<Vec<_>>(),
    ];
    fs::create_dir_all(target.join("matrix"))?;
    let page = fs::read_to_string(PAGE).unwrap_or_default();
    let checks = check(&options, &target)?;
    let steps = steps(&options, &target)?;

    let mut unexpected = 0;
    for (table, rows) in [(&CHECKS, &checks), (&STEPS, &steps)] {
        for row in rows {
            unexpected += usize::from(judge(table, row, &page, options.write));
        }
    }
    if options.write {
        fs::write(PAGE, page::text(&page, (&drivers, &checks), (&players, &steps)))?;
        say(&format!("{PAGE} is written"));
    }
    match (unexpected, checks.len() + steps.len()) {
        (0, rows) => say(&format!("{rows} rows are as expected")),
        (unexpected, rows) => bail!("{unexpected} of {rows} rows are not as expected"),
    }
    Ok(())
}

fn name_of_driver(driver: &Driver) -> Vec<&'static str> {
    vec![driver.name]
}

fn name_of_player(player: &Player) -> Vec<&'static str> {
    vec![player.name(), player.driver]
}

fn options(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options::default();
    for argument in arguments {
        match argument.as_str() {
            "--quick" => options.effort = vec!["--quick"],
            "--all" => options.effort = vec!["--all"],
            "--write" => options.write = true,
            other if other.starts_with('-') => {
                let known = "expected --quick, --all, --write or words of a row";
                return Err(anyhow!("{known}, found {other}").context(WrongUsage));
            }
            word => options.words.push(word.to_owned()),
        }
    }
    let drivers = DRIVERS.iter().map(words_of_checks);
    let players = PLAYERS.iter().map(words_of_steps);
    if !drivers.chain(players).any(|row| options.asks_for(&row)) {
        let asked = options.words.join(" ");
        return Err(anyhow!("no row has all of these words: {asked}").context(WrongUsage));
    }
    Ok(options)
}

impl Options {
    fn asks_for(&self, row: &[&str]) -> bool {
        self.words.iter().all(|word| row.contains(&word.as_str()))
    }
}

fn words_of_checks(driver: &Driver) -> Vec<&'static str> {
    [vec!["checks"], name_of_driver(driver)].concat()
}

fn words_of_steps(player: &Player) -> Vec<&'static str> {
    [vec!["steps"], name_of_player(player)].concat()
}

/// The rows of the drivers that are asked for.
fn check(options: &Options, target: &Path) -> anyhow::Result<Vec<Row>> {
    let asked = |driver: &&Driver| options.asks_for(&words_of_checks(driver));
    let drivers: Vec<&Driver> = DRIVERS.iter().filter(asked).collect();
    if drivers.is_empty() {
        return Ok(Vec::new());
    }
    say("building (a few minutes the first time)");
    run(cargo().args(["build", "--quiet", "--release", "--package", "fallline-cli"]))?;
    let fallline = target.join("release/fallline");
    let row = |driver: &Driver| {
        say(&format!("checking {}", driver.name));
        checks::check(&fallline, driver, &options.effort, target)
            .unwrap_or_else(|error| Row::broken(&CHECKS, &[driver.name], &format!("{error:#}")))
    };
    Ok(drivers.into_iter().map(row).collect())
}

/// Those of the players; the engine records on each driver once.
fn steps(options: &Options, target: &Path) -> anyhow::Result<Vec<Row>> {
    let asked = |player: &&Player| options.asks_for(&words_of_steps(player));
    let players: Vec<&Player> = PLAYERS.iter().filter(asked).collect();
    let mut recorded = Vec::new();
    for driver in &DRIVERS {
        if players.iter().any(|player| player.driver == driver.name) {
            recorded.push((driver.name, Recordings::new(driver, target)));
        }
    }
    let row = |player: &Player| -> anyhow::Result<Row> {
        let recordings = recorded.iter().find(|(driver, _)| *driver == player.driver);
        let (_, recordings) = recordings.context("its driver is not in the list")?;
        let recordings = recordings.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        player.play(recordings, target)
    };
    let row = |player: &Player| {
        row(player).unwrap_or_else(|error| {
            Row::broken(&STEPS, &name_of_player(player), &format!("{error:#}"))
        })
    };
    Ok(players.into_iter().map(row).collect())
}

/// Says what became of a row, and whether that is not as expected: a failure, or not what the page has.
fn judge(table: &Table, row: &Row, page: &str, writes: bool) -> bool {
    println!("{}", row.line());
    let change = if writes { None } else { table.change(page, row) };
    if let Some(Change::Version(text) | Change::Result(text)) = &change {
        say(text);
    }
    !row.is_expected || matches!(change, Some(Change::Result(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_choose_rows() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            let options = options(&words)?;
            let checks = DRIVERS.iter().filter(|d| options.asks_for(&words_of_checks(d))).count();
            let steps = PLAYERS.iter().filter(|p| options.asks_for(&words_of_steps(p))).count();
            anyhow::Ok((checks, steps))
        };
        assert_eq!(of(&[]).ok(), Some((DRIVERS.len(), PLAYERS.len())));
        assert_eq!(of(&["checks", "--quick"]).ok(), Some((DRIVERS.len(), 0)));
        assert_eq!(of(&["firefox"]).ok(), Some((0, 3)));
        assert_eq!(of(&["swiftshader"]).ok(), Some((1, 5)));
        assert_eq!(of(&["steps", "swiftshader", "deno"]).ok(), Some((0, 1)));
        for wrong in [&["firefox", "gl"][..], &["--quik"], &["metal"]] {
            assert!(of(wrong).expect_err("it is wrong").is::<WrongUsage>(), "{wrong:?}");
        }
    }

    #[test]
    fn every_player_has_a_driver_and_a_name_of_its_own() {
        let mut names: Vec<_> = PLAYERS.iter().map(name_of_player).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), PLAYERS.len());
        for player in &PLAYERS {
            assert!(DRIVERS.iter().any(|driver| driver.name == player.driver), "{player:?}");
        }
    }
}
