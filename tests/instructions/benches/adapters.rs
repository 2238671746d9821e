//! The adapters: a pod's text.

// What the macros make cannot be documented, and names everything in full.
#![allow(missing_docs, unused_qualifications)]

use std::hint::black_box;

use gungraun::{Callgrind, prelude::*};
use registrar_core::cluster::Object;
use registrar_instructions::text::Text;

#[library_benchmark]
#[bench::one(Text::ready())]
fn decode_pod(text: Text) -> (Option<Object>, Text) {
    (black_box(&text).decode(), text)
}

library_benchmark_group!(name = objects, benchmarks = [decode_pod]);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [objects]
);
