//! Checks what `src/emstamp_line.rs` says.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailstamp_fuzz::emstamp_line::run(input));
