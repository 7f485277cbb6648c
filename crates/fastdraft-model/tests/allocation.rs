//! A warm pass of the CPU engine allocates nothing, but for what gathers the threads of a long one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use fastdraft_model::{
    DecoderConfig,
    draft::init,
    engine::cpu::{CpuModel, Segment, WeightFormat, Workspace},
};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn warm_passes_do_not_allocate() {
    // Large enough for every product and the attention to run on all threads.
    let mut config = DecoderConfig::llama(3000, 256, 2);
    (config.heads, config.kv_heads, config.head_dim) = (8, 4, 32);
    let checkpoint = init::random(config, None, 7).unwrap();
    let prompt: Vec<u32> = (0..200).collect();
    for format in [
        WeightFormat::F32,
        WeightFormat::Bf16,
        WeightFormat::Int8,
        WeightFormat::Int4,
    ] {
        let model = CpuModel::new(&checkpoint, format).unwrap();
        let (mut work, mut logits) = (Workspace::new(), Vec::new());
        let mut cache = model.cache(400);
        let mut pass = |tokens: &[u32], keep: usize| {
            cache.truncate(keep);
            let segment = Segment {
                cache: &mut cache,
                tokens,
                outputs: tokens.len().min(8),
            };
            model
                .forward(&mut [segment], &mut work, &mut logits)
                .unwrap();
        };
        pass(&prompt, 0);
        pass(&prompt[..8], 392);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let passes = 200;
        let mut long = 0;
        for i in 0..passes {
            long += usize::from((1 + i % 8) * model.bytes_per_pass() >= 1 << 26);
            pass(&prompt[..1 + i % 8], 200 + i % 100);
        }
        let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
        // The thread pool's queues grow by a block for every 63 jobs from outside.
        let most = long + passes / 20;
        assert!(count <= most, "{format:?}: {count} allocations");
    }
}
