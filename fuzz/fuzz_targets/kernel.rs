#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| kerntun_fuzz_targets::kernel(input));
