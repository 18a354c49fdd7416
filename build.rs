//! Link options for a fast start, where compiler and libraries allow them. Without them the programs behave the same.
//!
//! Each start finds, maps and relocates every shared library. Against /bin/true the filter takes a fifth less time without
//! libgcc_s.so, and a fifth less again without libc.so. The linker takes the first file of a
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
    // The filter, as it is installed: all of the C library, at an address that is still random. The filter never looks up
    // users or hosts, for which glibc loads shared libraries. The debug build stays dynamic: tests preload libraries.
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

/// Returns whether the C compiler finds this archive. It prints the bare name of one that it lacks.
fn has_archive(name: &str) -> bool {
    let found = Command::new("cc").arg(format!("-print-file-name={name}")).output();
    found.is_ok_and(|it| it.status.success() && it.stdout.starts_with(b"/"))
}
