//! What `BatchUpdateEntry` promises.

use registrar_core::ports::FailureClass;

use super::*;

pub async fn an_update_of_an_unknown_or_empty_id_is_not_found(s: &Server) {
    let outcome = s.update(&id(), &entry(), &[Field::DnsNames]).await;
    assert_eq!(outcome, Outcome::NotFound);
    let empty = types::Entry {
        id: String::new(),
        ..sent()
    };
    for unknown in [sent(), empty] {
        let (code, message, none) = s.update_one(unknown, None).await;
        assert_eq!(
            (code, &*message),
            (Code::NotFound, "failed to update entry")
        );
        assert_eq!(none, None);
    }
}

/// An entry with something in every field, on the server.
async fn full(s: &Server) -> types::Entry {
    s.bundle("full.test").await;
    let full = types::Entry {
        x509_svid_ttl: 600,
        jwt_svid_ttl: 300,
        federates_with: texts(&["full.test"]),
        admin: true,
        downstream: true,
        expires_at: 4_000_000_000,
        dns_names: texts(&["a.test", "b.test"]),
        hint: "h".into(),
        store_svid: true,
        ..sent()
    };
    let (code, message, stored) = s.create_one(full.clone()).await;
    assert_eq!(code, Code::Ok, "{message}");
    let stored = stored.expect("it");
    assert_eq!(
        types::Entry {
            created_at: 0,
            ..stored.clone()
        },
        full
    );
    stored
}

pub async fn an_update_without_a_mask_overwrites_everything_with_one_only_its_fields(s: &Server) {
    let before = full(s).await;
    // The rest of what is sent is not written, not even looked at.
    let names = types::Entry {
        id: before.id.clone(),
        dns_names: texts(&["c.test"]),
        hint: "other".into(),
        ..types::Entry::default()
    };
    let mask = EntryMask {
        dns_names: true,
        ..EntryMask::default()
    };
    let (code, message, after) = s.update_one(names, Some(mask)).await;
    assert_eq!(code, Code::Ok, "{message}");
    let expected = types::Entry {
        dns_names: texts(&["c.test"]),
        revision_number: 1,
        ..before.clone()
    };
    assert_eq!(after, Some(expected.clone()));
    assert_eq!(s.get(&before.id, None).await.expect("it"), expected);

    let bare = types::Entry {
        id: before.id.clone(),
        spiffe_id: before.spiffe_id.clone(),
        parent_id: before.parent_id.clone(),
        selectors: before.selectors.clone(),
        ..types::Entry::default()
    };
    let (code, message, after) = s.update_one(bare.clone(), None).await;
    assert_eq!(code, Code::Ok, "{message}");
    let reset = types::Entry {
        revision_number: 2,
        created_at: before.created_at,
        ..bare
    };
    assert_eq!(after, Some(reset), "what was left out is gone");
}

pub async fn an_update_without_the_field_does_not_look_at_it(s: &Server) {
    let wanted = entry();
    let id = id();
    assert_eq!(s.create(&id, &wanted).await, Outcome::Ok);
    let mut other = entry();
    other.hint = Some("hint".into());
    // Neither of these would be taken.
    other.spiffe_id = SpiffeId::stored(wanted.spiffe_id.trust_domain().clone(), "").expect("none");
    other.federates_with = domains(&[&unique("nowhere")]);
    other.dns_names = names(&["a.test", "a.test"]);
    other.x509_svid_ttl = Some(-1);
    assert_eq!(s.update(&id, &other, &[Field::Hint]).await, Outcome::Ok);
    let stored = s.read(&id).await.expect("it is there");
    let expected = Entry {
        hint: other.hint,
        ..wanted
    };
    assert!(expected.changed_fields(&stored).is_empty(), "{stored:?}");
}

pub async fn ids_parents_and_selectors_can_be_changed_in_place_even_to_those_of_another(
    s: &Server,
) {
    let (first, second) = (id(), id());
    let one = Entry {
        parent_id: spiffe_id("/contract/other-parent"),
        ..entry()
    };
    assert_eq!(s.create(&first, &one).await, Outcome::Ok);
    assert_eq!(s.create(&second, &entry()).await, Outcome::Ok);
    let before = s.read(&second).await.expect("stored");
    let fields = [Field::SpiffeId, Field::ParentId, Field::Selectors];
    assert_eq!(s.update(&second, &one, &fields).await, Outcome::Ok);
    let after = s.read(&second).await.expect("stored");
    assert!(one.is_similar(&after), "{after:?}");
    assert_eq!((after.id, after.created_at), (before.id, before.created_at));
    // There are two now; a create finds one of them.
    match s.create(&id(), &one).await {
        Outcome::AlreadyExists(Some(found)) => assert!([first, second].contains(&found.id)),
        other => panic!("{other:?}"),
    }
}

pub async fn every_update_is_a_revision_even_if_nothing_changes(s: &Server) {
    let before = full(s).await;
    assert_eq!(before.revision_number, 0);
    let hint = EntryMask {
        hint: true,
        ..EntryMask::default()
    };
    for (at, mask) in [None, Some(hint), Some(EntryMask::default())]
        .into_iter()
        .enumerate()
    {
        let (code, message, after) = s.update_one(before.clone(), mask).await;
        assert_eq!(code, Code::Ok, "{message}");
        let expected = types::Entry {
            revision_number: at as i64 + 1,
            ..before.clone()
        };
        assert_eq!(after, Some(expected), "{mask:?}");
    }
    let refused = types::Entry {
        hint: "h".repeat(1025),
        ..before.clone()
    };
    assert_eq!(
        s.update_one(refused, Some(hint)).await.0,
        Code::InvalidArgument
    );
    let after = s.get(&before.id, None).await.expect("it");
    assert_eq!(after.revision_number, 3, "a refusal is none");
}

pub async fn dns_names_and_selectors_keep_their_order_and_trust_domains_are_a_set(s: &Server) {
    for td in ["order-a.test", "order-z.test"] {
        s.bundle(td).await;
    }
    let mut wanted = types::Entry {
        dns_names: texts(&["z.test", "a.test", "m.test"]),
        federates_with: texts(&["order-z.test", "order-a.test"]),
        ..sent()
    };
    // That is so of what is read. What the reply to a write shows is in no order that one could rely on.
    let sorted = |told: &Told| {
        let mut names = told.2.as_ref().expect("an entry").dns_names.clone();
        names.sort();
        names
    };
    let all_names = texts(&["a.test", "m.test", "z.test"]);
    assert_eq!(sorted(&s.create_one(wanted.clone()).await), all_names);
    let is_kept = async |wanted: &types::Entry| {
        let request = ListEntriesRequest::default();
        let (all, _) = s.list(request).await.expect("listed");
        let listed = all.into_iter().find(|e| e.id == wanted.id);
        let read = s.get(&wanted.id, None).await.expect("it");
        let (_, _, similar) = s.create_one(wanted.clone()).await;
        for mut stored in [listed.expect("it"), read, similar.expect("it")] {
            assert_eq!(stored.dns_names, wanted.dns_names);
            assert_eq!(stored.selectors, wanted.selectors);
            stored.federates_with.sort();
            assert_eq!(
                stored.federates_with,
                texts(&["order-a.test", "order-z.test"])
            );
        }
    };
    is_kept(&wanted).await;
    wanted.dns_names = texts(&["m.test", "z.test", "a.test"]);
    wanted.selectors.reverse();
    let told = s.update_one(wanted.clone(), None).await;
    assert_eq!(sorted(&told), all_names);
    is_kept(&wanted).await;
}

pub async fn an_update_is_refused_item_by_item_as_a_create_is(s: &Server) {
    let (first, second, third) = (sent(), sent(), sent());
    let made = vec![first.clone(), second.clone(), third.clone()];
    for (code, message, _) in s.create_sent(made, None).await {
        assert_eq!(code, Code::Ok, "{message}");
    }
    let name_twice = types::Entry {
        dns_names: texts(&["a.test", "a.test"]),
        ..first.clone()
    };
    let mut selector_twice = second.clone();
    selector_twice.selectors.push(second.selectors[0].clone());
    let invalid = types::Entry {
        hint: "h".repeat(1025),
        ..third.clone()
    };
    let negative = types::Entry {
        x509_svid_ttl: -1,
        ..third.clone()
    };
    let right = types::Entry {
        hint: "h".into(),
        ..third.clone()
    };
    let sent = vec![name_twice, selector_twice, invalid, negative, right];
    let told = s.update_sent(sent, None, None).await;
    let expected = [
        (
            Code::AlreadyExists,
            "failed to update entry: datastore-sql: UNIQUE constraint failed",
        ),
        (
            Code::AlreadyExists,
            "failed to update entry: datastore-sql: UNIQUE constraint failed",
        ),
        (
            Code::InvalidArgument,
            "failed to convert entry: hint is too long",
        ),
        (
            Code::InvalidArgument,
            "failed to update entry: datastore-validation: ",
        ),
        (Code::Ok, "OK"),
    ];
    assert_eq!(told.len(), expected.len());
    for ((code, message, _), (wanted, begins)) in told.iter().zip(expected) {
        assert_eq!(*code, wanted, "{message}");
        assert!(message.starts_with(begins), "{message}");
    }
    for unchanged in [first, second] {
        let stored = s.get(&unchanged.id, None).await.expect("it");
        assert_eq!(stored.revision_number, 0);
        assert_eq!(
            (stored.dns_names, stored.selectors),
            (unchanged.dns_names, unchanged.selectors)
        );
    }
    // As the registrar hears it.
    let known = EntryId::stored(&third.id);
    let twice = Entry {
        dns_names: names(&["a.test", "a.test"]),
        ..entry()
    };
    let outcome = s.update(&known, &twice, &[Field::DnsNames]).await;
    assert_eq!(outcome, Outcome::AlreadyExists(None));
    let hint = Entry {
        hint: Some("h".repeat(1025).into()),
        ..entry()
    };
    let outcome = s.update(&known, &hint, &[Field::Hint]).await;
    let permanent = matches!(&outcome, Outcome::Refused(f) if f.class == FailureClass::Permanent);
    assert!(permanent, "{outcome:?}");
}

pub async fn the_revision_and_the_time_of_creation_are_the_servers(s: &Server) {
    let before = full(s).await;
    let forged = types::Entry {
        revision_number: 77,
        created_at: 77,
        ..before.clone()
    };
    let mask = EntryMask {
        revision_number: true,
        created_at: true,
        ..EntryMask::default()
    };
    let (code, message, after) = s.update_one(forged, Some(mask)).await;
    assert_eq!(code, Code::Ok, "{message}");
    let expected = types::Entry {
        revision_number: 1,
        ..before
    };
    assert_eq!(after, Some(expected));
}
