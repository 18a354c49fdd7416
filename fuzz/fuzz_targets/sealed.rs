//! Checks what `src/sealed.rs` says.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailstamp_fuzz::sealed::run(input));
