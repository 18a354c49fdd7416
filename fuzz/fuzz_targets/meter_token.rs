//! Checks what `src/meter_token.rs` says.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailstamp_fuzz::meter_token::run(input));
