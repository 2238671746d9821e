//! The core: a hundred events of a kind at different numbers of pods, the rules, and the comparison.

// What the macros make cannot be documented, and names everything in full.
#![allow(missing_docs, unused_qualifications)]

use std::hint::black_box;

use gungraun::{Callgrind, prelude::*};
use registrar_core::{entry::FieldMask, rules::Decision};
use registrar_instructions::{
    machine::Case,
    parts::{Compared, Undecided},
};

// What is handed back is dropped after the counting.
#[library_benchmark]
#[benches::pods(args = [1_000, 10_000, 100_000], setup = Case::unchanged)]
fn hundred_unchanged(case: Box<Case>) -> Box<Case> {
    black_box(case.run())
}

#[library_benchmark]
#[benches::pods(args = [1_000, 10_000, 100_000], setup = Case::changed)]
fn hundred_changed(case: Box<Case>) -> Box<Case> {
    black_box(case.run())
}

#[library_benchmark]
#[benches::pods(args = [1_000, 10_000, 100_000], setup = Case::new)]
fn hundred_new(case: Box<Case>) -> Box<Case> {
    black_box(case.run())
}

#[library_benchmark]
#[benches::pods(args = [1_000, 10_000, 100_000], setup = Case::deleted)]
fn hundred_deleted(case: Box<Case>) -> Box<Case> {
    black_box(case.run())
}

#[library_benchmark]
#[bench::one(Undecided::ready())]
fn decide_pod(pod: Undecided) -> (Decision, Undecided) {
    (black_box(&pod).decide(), pod)
}

#[library_benchmark]
#[bench::same(Compared::same())]
#[bench::different(Compared::different())]
fn compare(entries: Compared) -> (FieldMask, Compared) {
    (black_box(&entries).compare(), entries)
}

library_benchmark_group!(
    name = step,
    benchmarks = [
        hundred_unchanged,
        hundred_changed,
        hundred_new,
        hundred_deleted
    ]
);
library_benchmark_group!(name = rules, benchmarks = [decide_pod, compare]);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [step, rules]
);
