//! Checks what `src/lmtp.rs` says.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailstamp_fuzz::lmtp::run(input));
