//! Link options: what marks closed standard descriptors (src/os/closed_streams.c), and a fast start, where compiler and
//! libraries allow it. Without the options for a fast start, the programs behave the same.
//!
//! Each start finds, maps and relocates every shared library. Against /bin/true the filter takes a fifth less time without
//! libgcc_s.so, and a fifth less again without libc.so. The linker takes the first file of a
//! library's name, so two linker scripts of those names, found first, stand for the archives.

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

/// C, since the lint against `unsafe` forbids all Rust code that runs before `main`.
const CLOSED_STREAMS: &str = "src/os/closed_streams.c";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={CLOSED_STREAMS}");
    let var = |name: &str| env::var(name).unwrap_or_default();
    let out = var("OUT_DIR");
    let folder = Path::new(&out);
    if var("CARGO_CFG_TARGET_OS") != "linux" || var("HOST") != var("TARGET") {
        return Ok(());
    }
    let object = folder.join("closed_streams.o");
    if Command::new("cc")
        .args(["-c", "-Os", "-fPIC", "-o"])
        .arg(&object)
        .arg(CLOSED_STREAMS)
        .status()
        .is_ok_and(|it| it.success())
    {
        println!("cargo:rustc-link-arg-bins={}", object.display());
    } else {
        println!("cargo:warning={CLOSED_STREAMS}: not compiled; a closed standard output will not be noticed");
    }
    if var("CARGO_CFG_TARGET_ENV") != "gnu" || !has_archive("libgcc_eh.a") {
        return Ok(());
    }
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
        // Relocations take a quarter of a megabyte otherwise. A linker that does not know the option ignores it.
        if relocates_packed() {
            println!("cargo:rustc-link-arg-bin=mailstamp=-Wl,-z,pack-relative-relocs");
        }
    }
    Ok(())
}

/// Returns whether the C library can relocate itself by packed entries (DT_RELR): glibc since 2.36.
fn relocates_packed() -> bool {
    let Ok(asked) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let text = String::from_utf8_lossy(&asked.stdout);
    let version = text.trim().strip_prefix("glibc ").and_then(|it| it.split_once('.'));
    version.is_some_and(|(major, minor)| (major.parse::<u32>().ok(), minor.parse::<u32>().ok()) >= (Some(2), Some(36)))
}

/// Returns whether the C compiler finds this archive. It prints the bare name of one that it lacks.
fn has_archive(name: &str) -> bool {
    let found = Command::new("cc").arg(format!("-print-file-name={name}")).output();
    found.is_ok_and(|it| it.status.success() && it.stdout.starts_with(b"/"))
}
