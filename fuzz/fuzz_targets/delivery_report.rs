//! Checks what `src/delivery_report.rs` says.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailstamp_fuzz::delivery_report::run(input));
