//! Links the programs so that they start fast, where compiler and libraries allow it. They are the same without it.
//!
//! A shared library has to be found, mapped and relocated at each start. Against /bin/true a process of the filter takes a
//! fifth less time without libgcc_s.so, and as much less again without libc.so. The linker takes the first file of a
//! library's name, so two linker scripts of those names, found first, stand for the archives.

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let var = |name: &str| env::var(name).unwrap_or_default();
    let gnu = (var("CARGO_CFG_TARGET_OS").as_str(), var("CARGO_CFG_TARGET_ENV").as_str()) == ("linux", "gnu");
    if !gnu || var("HOST") != var("TARGET") || !has_archive("libgcc_eh.a") {
        return Ok(());
    }
    let out = var("OUT_DIR");
    let folder = Path::new(&out);
    // Both programs: the unwinder, which the standard library asks for as libgcc_s.
    fs::write(folder.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo:rustc-link-search=native={}", folder.display());
    // The filter alone, as it is installed: all of the C library, at an address that is still random. It never asks for
    // names of users or hosts, which would load libraries of the system after all. Tests load libraries into the debug build.
    if var("PROFILE") == "release" && has_archive("libc.a") {
        let folder = folder.join("static");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("libc.so"), "INPUT ( -l:libc.a -lgcc_eh -lgcc )\n")?;
        for part in ["util", "rt", "pthread", "m", "dl"] {
            fs::write(folder.join(format!("lib{part}.so")), "/* in libc */\n")?;
        }
        println!("cargo:rustc-link-arg-bin=mailstamp=-L{}", folder.display());
        println!("cargo:rustc-link-arg-bin=mailstamp=-static-pie");
    }
    Ok(())
}

/// Whether the compiler that links has this archive. Of one that it lacks it says the bare name.
fn has_archive(name: &str) -> bool {
    let found = Command::new("cc").arg(format!("-print-file-name={name}")).output();
    found.is_ok_and(|it| it.status.success() && it.stdout.starts_with(b"/"))
}
