//! A Vulkan layer under which a call fails, for commands: see `layer.c`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const MANIFEST: &str = r#"{
    "file_format_version": "1.1.2",
    "layer": {
        "name": "VK_LAYER_FALLLINE_faults",
        "type": "GLOBAL",
        "library_path": "./libfaults.so",
        "api_version": "1.3.239",
        "implementation_version": "1",
        "description": "one call fails"
    }
}"#;

/// Where it lies, compiled once for each test binary, by the compiler that links Rust programs too.
fn layer() -> &'static Path {
    static LAYER: OnceLock<PathBuf> = OnceLock::new();
    LAYER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.join(concat!("faults.", env!("CARGO_CRATE_NAME")));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("layer.json"), MANIFEST).expect("written");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let mut source = source.map(|root| root.join("tests/faults/layer.c"));
        let source = source.find(|path| path.is_file()).expect("the layer's source");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-pthread", "-o"]);
        let compiled = cc.arg(folder.join("libfaults.so")).arg(source).status();
        assert!(compiled.expect("a C compiler, `cc`").success(), "the layer does not compile");
        folder
    })
}

/// The command under it, on Vulkan.
pub(crate) fn under_layer(command: &mut Command) -> &mut Command {
    command.env("VK_LAYER_PATH", layer()).env("VK_INSTANCE_LAYERS", "VK_LAYER_FALLLINE_faults");
    // Mesa's device-select layer complains on stderr where there is no display.
    command.env("NODEVICE_SELECT", "1").env("WGPU_BACKEND", "vulkan");
    command
}
