//! Checks what `src/delivery.rs` says.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailstamp_fuzz::delivery::run(input));
