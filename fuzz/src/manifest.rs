//! Files of manifests, as people and programs write them, packed or not.

use std::{fs, path::PathBuf};

use registrar_adapters::manifests::{Source, read};
use registrar_core::{policy::WantedMetadata, sync::Event};

/// Any bytes, as a file: what comes out are objects and troubles, each with its place, and never more of them than lines.
pub fn manifest(data: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), data).expect("written");
    let path: PathBuf = file.path().into();
    let mut events = 0_usize;
    let mut at = 0;
    let mut count = |event: Event, bytes: u64| {
        events += usize::from(matches!(
            event,
            Event::Listed(_) | Event::Applied(_) | Event::Undecodable { .. }
        ));
        assert!(bytes >= at, "reading goes on");
        at = bytes;
    };
    let wanted = WantedMetadata {
        annotations: ["a".into()].into(),
        ..WantedMetadata::default()
    };
    let reading = read(&[Source::File(path)], &wanted, &mut count);
    let objects: usize = reading.objects.values().sum();
    // An object without a name is a trouble; of those the first hundred are told.
    let told = events + reading.troubles.len();
    assert!(
        told >= objects || reading.troubles.len() >= 100,
        "each object that is counted is told: {objects} of {told}"
    );
    assert!(reading.without_uid.len() <= objects);
    for trouble in &reading.troubles {
        assert!(
            !trouble.place.is_empty() && !trouble.why.is_empty(),
            "{trouble:?}"
        );
    }
}
