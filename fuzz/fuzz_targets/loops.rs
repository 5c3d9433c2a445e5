#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dormouse_fuzz::demand(dormouse_fuzz::loops::check, data);
});
