#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wechat_im_bridge_fuzz::reply::check(input));
