#![no_main]

#[allow(dead_code)]
#[path = "../../tests/drive/mod.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let scratch = drive::Scratch::new();
    scratch.write("config.json", drive::CONFIG);
    scratch.directory("model.safetensors.index.json", data);
});
