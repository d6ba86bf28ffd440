//! HLSL to DXIL by Microsoft's DXC.
//!
//! Its interface for Linux (`dxcapi.h` with `WinAdapter.h`) is COM's with the vtables of C++: two entries for the
//! destructor of `IUnknown` lie behind `Release`.

use std::{
    ffi::{OsStr, c_void},
    path::Path,
    ptr,
};

use anyhow::{Context, Result, bail, ensure};
use libloading::{Library, Symbol};

use crate::{kernels::Which, translate};

/// wgpu-hal's.
const ARGUMENTS: [&str; 9] =
    ["kernel.hlsl", "-E", "main", "-T", "cs_6_0", "-HV", "2018", "-no-warnings", "-Vd"];

/// Compiles all, and prints those that DXC refuses with what it says.
pub(crate) fn compile(which: &Which, library: &Path) -> Result<()> {
    // SAFETY: it is DXC, whose initialization has no conditions.
    let library = unsafe { Library::new::<&OsStr>(library.as_ref()) }
        .with_context(|| format!("cannot load DXC from {library:?}"))?;
    let compiler = Compiler::new(&library)?;
    let (mut compiled, mut refused) = (0, 0);
    for kernel in translate::hlsl(which)? {
        let (kernel, text) = kernel?;
        match compiler.compile(&text)? {
            None => compiled += 1,
            Some(said) => {
                println!("{}: {}", kernel.name, said.trim());
                refused += 1;
            }
        }
    }
    if refused > 0 {
        bail!("DXC refuses {refused} of {} kernels", compiled + refused);
    }
    println!("DXC compiles {compiled} kernels");
    Ok(())
}

/// A GUID, as it lies in memory.
#[repr(C)]
struct Guid(u32, u16, u16, [u8; 8]);

const CLSID_DXC_COMPILER: Guid =
    Guid(0x73e2_2d93, 0xe6ce, 0x47f3, [0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0]);
const IID_IDXC_COMPILER3: Guid =
    Guid(0x228b_4687, 0x5a6a, 0x4730, [0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54]);
const IID_IDXC_RESULT: Guid =
    Guid(0x5834_6cda, 0xdde7, 0x4497, [0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59]);

/// DxcBuffer.
#[repr(C)]
struct Text {
    pointer: *const u8,
    len: usize,
    encoding: u32,
}

const UTF_8: u32 = 65001;

/// An object of COM, released when it is dropped.
struct Object(*mut *const [*const c_void; 8]);

const RELEASE: usize = 2;
/// The first behind IUnknown's and its destructor's.
const FIRST: usize = 5;

impl Object {
    /// A pointer to its function of this number.
    fn function(&self, number: usize) -> *const c_void {
        // SAFETY: an object begins with a pointer to its vtable, and all of these have eight entries.
        unsafe { (**self.0)[number] }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: as `IUnknown` declares it.
        unsafe {
            let release: extern "C" fn(*mut c_void) -> u32 =
                std::mem::transmute(self.function(RELEASE));
            release(self.0.cast());
        }
    }
}

/// IDxcCompiler3.
struct Compiler {
    object: Object,
    arguments: Vec<Vec<u32>>,
}

impl Compiler {
    fn new(library: &Library) -> Result<Self> {
        let mut object = Object(ptr::null_mut());
        // SAFETY: as `dxcapi.h` declares it.
        let code = unsafe {
            let create: Symbol<
                '_,
                extern "C" fn(*const Guid, *const Guid, *mut *mut *const [*const c_void; 8]) -> i32,
            > = library.get(b"DxcCreateInstance\0")?;
            create(&CLSID_DXC_COMPILER, &IID_IDXC_COMPILER3, &mut object.0)
        };
        if code < 0 {
            std::mem::forget(object);
            bail!("DXC gives no compiler ({code:#x})");
        }
        // wchar_t has 32 bits here.
        let wide = |argument: &&str| argument.chars().map(u32::from).chain([0]).collect();
        Ok(Self { object, arguments: ARGUMENTS.iter().map(wide).collect() })
    }

    /// What DXC has against a text.
    fn compile(&self, hlsl: &str) -> Result<Option<String>> {
        let text = Text { pointer: hlsl.as_ptr(), len: hlsl.len(), encoding: UTF_8 };
        let arguments: Vec<_> = self.arguments.iter().map(|argument| argument.as_ptr()).collect();
        // SAFETY: as `dxcapi.h` declares IDxcCompiler3, IDxcResult and IDxcBlobEncoding; what is lent outlives the calls.
        unsafe {
            type Compile = extern "C" fn(
                *mut c_void,
                *const Text,
                *const *const u32,
                u32,
                *mut c_void,
                *const Guid,
                *mut *mut *const [*const c_void; 8],
            ) -> i32;
            let compile: Compile = std::mem::transmute(self.object.function(FIRST));
            let mut result = ptr::null_mut();
            let count = u32::try_from(arguments.len())?;
            let this = self.object.0.cast();
            let none = ptr::null_mut();
            let code = compile(
                this,
                &text,
                arguments.as_ptr(),
                count,
                none,
                &IID_IDXC_RESULT,
                &mut result,
            );
            ensure!(code >= 0 && !result.is_null(), "DXC gives no result ({code:#x})");
            let result = Object(result);

            let status: extern "C" fn(*mut c_void, *mut i32) -> i32 =
                std::mem::transmute(result.function(FIRST));
            let mut compiled = 0;
            status(result.0.cast(), &mut compiled);
            if compiled >= 0 {
                return Ok(None);
            }
            let errors: extern "C" fn(*mut c_void, *mut *mut *const [*const c_void; 8]) -> i32 =
                std::mem::transmute(result.function(FIRST + 2));
            let mut blob = ptr::null_mut();
            errors(result.0.cast(), &mut blob);
            ensure!(!blob.is_null(), "DXC says nothing ({compiled:#x})");
            let blob = Object(blob);
            let bytes: extern "C" fn(*mut c_void) -> *const u8 =
                std::mem::transmute(blob.function(FIRST));
            let len: extern "C" fn(*mut c_void) -> usize =
                std::mem::transmute(blob.function(FIRST + 1));
            let said = std::slice::from_raw_parts(bytes(blob.0.cast()), len(blob.0.cast()));
            Ok(Some(String::from_utf8_lossy(said).trim_end_matches('\0').to_owned()))
        }
    }
}
