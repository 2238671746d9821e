
/// Whether this mutant is the chosen one. Without one, those that are asked about are told in a file if that is wanted.
#[doc(hidden)]
#[inline(never)]
pub fn is_mutated(number: u32) -> bool {
    use std::sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    };
    static CHOSEN: LazyLock<u32> =
        LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0));
    static TOLD: LazyLock<Option<(String, Vec<AtomicBool>)>> = LazyLock::new(|| {
        let told = (0..1 << 16).map(|_| AtomicBool::new(false)).collect();
        Some((std::env::var("MUTANTS_ASKED").ok()?, told))
    });
    if let Some((file, told)) = &*TOLD
        && !told[number as usize].swap(true, Ordering::Relaxed)
    {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(format!("{number}\n").as_bytes()).unwrap();
    }
    *CHOSEN == number
}
