//! What `BatchCreateEntry` promises.

use std::time::Duration;

use registrar_adapters::spire::convert;
use registrar_core::ports::FailureClass;
use registrar_tests::eventually;

use super::*;

pub async fn an_empty_batch_is_a_no_op(s: &Server) {
    for call in [
        SpireCall::Create { entries: vec![] },
        SpireCall::Delete { ids: vec![] },
        SpireCall::Update {
            mask: FieldMask::from_iter([Field::Hint]),
            entries: vec![],
        },
    ] {
        assert_eq!(s.call(call).await, SpireAnswer::Written(vec![]));
    }
}

pub async fn items_of_a_batch_are_independent_and_answered_in_order(s: &Server) {
    let (first, second) = (id(), id());
    let one = Arc::new(entry());
    let entries = vec![
        (first.clone(), one.clone()),
        (id(), one),
        (second, Arc::new(entry())),
    ];
    let SpireAnswer::Written(outcomes) = s.call(SpireCall::Create { entries }).await else {
        panic!("a write is answered by outcomes")
    };
    assert_eq!(outcomes[0], Outcome::Ok);
    assert!(
        matches!(&outcomes[1], Outcome::AlreadyExists(Some(e)) if e.id == first),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[2], Outcome::Ok);
}

pub async fn a_trust_domain_without_a_bundle_refuses_the_whole_entry(s: &Server) {
    let td = unique("nowhere");
    let entry = Entry {
        federates_with: domains(&[&td]),
        ..entry()
    };
    let missing = format!("unable to find federated bundle \"spiffe://{td}\"");
    match s.create(&id(), &entry).await {
        Outcome::Refused(failure) => {
            assert!(failure.message.contains(&missing), "{failure:?}");
            assert_eq!(failure.class, FailureClass::Retry);
        }
        other => panic!("{other:?}"),
    }
    let id = id();
    let alone = Entry {
        federates_with: Arc::default(),
        ..entry.clone()
    };
    assert_eq!(s.create(&id, &alone).await, Outcome::Ok);
    match s.update(&id, &entry, &[Field::FederatesWith]).await {
        Outcome::Refused(failure) => assert!(failure.message.contains(&missing), "{failure:?}"),
        other => panic!("{other:?}"),
    }
}

pub async fn a_trust_domain_with_a_bundle_is_listed_and_may_be_named(s: &Server) {
    let td = unique("somewhere");
    s.bundle(&td).await;
    match s.call(SpireCall::ListBundles).await {
        SpireAnswer::Bundles(known) => {
            assert!(known.contains(&TrustDomain::new(&td).expect("legal")))
        }
        other => panic!("{other:?}"),
    }
    let (id, entry) = (
        id(),
        Entry {
            federates_with: domains(&[&td]),
            ..entry()
        },
    );
    assert_eq!(s.create(&id, &entry).await, Outcome::Ok);
    assert_eq!(
        s.read(&id).await.expect("stored").federates_with,
        domains(&[&td])
    );
}

pub async fn an_id_in_the_reserved_namespace_is_refused_for_good(s: &Server) {
    let td = || TrustDomain::new("example.org").expect("legal");
    for path in ["", "/spire", "/spire/agent/x"] {
        let mut entry = entry();
        entry.spiffe_id = SpiffeId::stored(td(), path).expect("a path");
        let outcome = s.create(&id(), &entry).await;
        let Outcome::Refused(failure) = outcome else {
            panic!("{path:?}: {outcome:?}");
        };
        assert_eq!(failure.class, FailureClass::Permanent, "{failure:?}");
        assert!(failure.message.contains("invalid spiffe ID"), "{failure:?}");
    }
}

pub async fn a_deadline_within_a_batch_leaves_the_items_before_it_applied(s: &Server) {
    // How fast the server is, nobody knows: the deadline grows until it strikes within the batch.
    let mut deadline = Duration::from_millis(20);
    loop {
        let parent = format!("/contract/{}", unique("parent"));
        let entries: Vec<(EntryId, Arc<Entry>)> = (0..1000)
            .map(|_| {
                let parent_id = spiffe_id(&parent);
                (
                    id(),
                    Arc::new(Entry {
                        parent_id,
                        ..entry()
                    }),
                )
            })
            .collect();
        let sent: Vec<EntryId> = entries.iter().map(|(id, _)| id.clone()).collect();
        let hasty = Deadlines {
            write: deadline,
            ..Deadlines::default()
        };
        let hasty = SpireClient::new(s.wire.clone(), hasty, Arc::new(|| true));
        let answer = hasty.perform(SpireCall::Create { entries }).await;
        let failure = match answer {
            Err(failure) => failure,
            Ok(_) => panic!("a thousand entries within {deadline:?}"),
        };
        assert_eq!(failure.class, FailureClass::Unknown, "{failure:?}");
        let request = || ListEntriesRequest {
            filter: Some(Filter {
                by_parent_id: Some(types::Spiffeid {
                    trust_domain: "example.org".into(),
                    path: parent.clone(),
                }),
                ..Filter::default()
            }),
            output_mask: Some(EntryMask::default()),
            ..ListEntriesRequest::default()
        };
        // The item that was under way may still arrive.
        let mut before = usize::MAX;
        let stored = eventually("the server does no more", async || {
            let (stored, _) = s.list(request()).await.map_err(|e| e.to_string())?;
            let done = std::mem::replace(&mut before, stored.len());
            (done == stored.len())
                .then_some(stored)
                .ok_or_else(|| done.to_string())
        })
        .await;
        let stored: Vec<&str> = stored.iter().map(|e| &*e.id).collect();
        let prefix: Vec<&str> = sent
            .iter()
            .take(stored.len())
            .map(EntryId::as_str)
            .collect();
        assert_eq!(stored, prefix, "nothing is left out in between");
        if (1..sent.len()).contains(&stored.len()) {
            return;
        }
        deadline *= 2;
    }
}

pub async fn an_entry_is_converted_then_validated_then_compared_then_stored(s: &Server) {
    let first = sent();
    assert_eq!(s.create_one(first.clone()).await.0, Code::Ok);
    let like_it = |change: fn(&mut types::Entry)| {
        let mut entry = types::Entry {
            id: String::new(),
            ..first.clone()
        };
        change(&mut entry);
        entry
    };
    // Each is similar to the first as well, and has one flaw more than the next.
    let flawed = [
        like_it(|e| {
            e.hint = "h".repeat(1025);
            e.x509_svid_ttl = -1;
            e.federates_with = texts(&["nowhere.test"]);
        }),
        like_it(|e| {
            e.x509_svid_ttl = -1;
            e.federates_with = texts(&["nowhere.test"]);
        }),
        like_it(|e| e.federates_with = texts(&["nowhere.test"])),
    ];
    let told = s.create_sent(flawed.into(), None).await;
    let (code, message, none) = &told[0];
    assert_eq!((*code, none), (Code::InvalidArgument, &None), "{message}");
    assert!(
        message.starts_with("failed to convert entry: hint is too long"),
        "{message}"
    );
    let (code, message, none) = &told[1];
    assert_eq!((*code, none), (Code::InvalidArgument, &None), "{message}");
    let prefix = "failed to create entry: datastore-validation: ";
    assert!(message.starts_with(prefix), "{message}");
    let (code, message, similar) = &told[2];
    assert_eq!(*code, Code::AlreadyExists, "{message}");
    assert_eq!(similar.as_ref().map(|e| &e.id), Some(&first.id));
}

pub async fn only_spiffe_id_parent_and_the_set_of_selectors_make_entries_similar(s: &Server) {
    let first = sent();
    assert_eq!(s.create_one(first.clone()).await.0, Code::Ok);
    s.bundle("similar.test").await;
    let like_it = |change: fn(&mut types::Entry)| {
        let mut entry = types::Entry {
            id: id().to_string(),
            ..first.clone()
        };
        change(&mut entry);
        entry
    };
    let similar = [
        like_it(|e| e.selectors.reverse()),
        like_it(|e| e.dns_names = texts(&["a.test"])),
        like_it(|e| e.federates_with = texts(&["similar.test"])),
        like_it(|e| e.x509_svid_ttl = 60),
        like_it(|e| e.admin = true),
        like_it(|e| e.hint = "h".into()),
    ];
    for (code, message, entry) in s.create_sent(similar.into(), None).await {
        assert_eq!(code, Code::AlreadyExists, "{message}");
        assert_eq!(entry.expect("the first").id, first.id);
    }
    let different = [
        like_it(|e| drop(e.selectors.pop())),
        like_it(|e| {
            e.selectors.push(types::Selector {
                r#type: "k8s".into(),
                value: "sa:x".into(),
            })
        }),
        like_it(|e| e.parent_id.as_mut().expect("an ID").path = "/contract/elsewhere".into()),
        like_it(|e| e.spiffe_id.as_mut().expect("an ID").path.push_str("/x")),
    ];
    for (code, message, _) in s.create_sent(different.into(), None).await {
        assert_eq!(code, Code::Ok, "{message}");
    }
}

pub async fn a_similar_entry_is_answered_with_the_one_that_is_there(s: &Server) {
    let wanted = entry();
    let original = Entry {
        dns_names: names(&["a.test"]),
        hint: Some("h".into()),
        ..wanted.clone()
    };
    let (first, second) = (id(), id());
    assert_eq!(s.create(&first, &original).await, Outcome::Ok);
    match s.create(&second, &wanted).await {
        Outcome::AlreadyExists(Some(found)) => {
            assert_eq!(found.id, first);
            assert_eq!((&found.dns_names, &*found.hint), (&names(&["a.test"]), "h"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        s.read(&second).await,
        None,
        "the ID that was sent is ignored"
    );
    let whole = s.get(first.as_str(), None).await.expect("the first");
    let again = convert::entry(&second, &wanted);
    let (code, message, found) = s.create_one(again).await;
    assert_eq!(
        (code, &*message),
        (Code::AlreadyExists, "similar entry already exists")
    );
    assert_eq!(found, Some(whole), "with every field as it is stored");
}

pub async fn a_value_given_twice_or_an_id_taken_is_refused_without_an_entry(s: &Server) {
    let taken = sent();
    assert_eq!(s.create_one(taken.clone()).await.0, Code::Ok);
    let mut selector_twice = sent();
    selector_twice
        .selectors
        .push(selector_twice.selectors[0].clone());
    let name_twice = types::Entry {
        dns_names: texts(&["a.test", "b.test", "a.test"]),
        ..sent()
    };
    let another = types::Entry {
        id: taken.id.clone(),
        ..sent()
    };
    for wrong in [selector_twice, name_twice, another] {
        let (code, message, none) = s.create_one(wrong.clone()).await;
        assert_eq!((code, none), (Code::AlreadyExists, None), "{message}");
        let violated = "failed to create entry: datastore-sql: UNIQUE constraint failed";
        assert!(message.starts_with(violated), "{message}");
        let there = s.get(&wrong.id, None).await.map(|e| e.spiffe_id);
        match wrong.id == taken.id {
            true => assert_eq!(there.expect("the first"), taken.spiffe_id),
            false => assert_eq!(there.expect_err("nothing").code(), Code::NotFound),
        }
    }
    let (taken, other) = (EntryId::stored(&taken.id), entry());
    assert_eq!(s.create(&taken, &other).await, Outcome::AlreadyExists(None));
}

pub async fn a_trust_domain_given_twice_is_stored_once(s: &Server) {
    s.bundle("twice.test").await;
    let entry = types::Entry {
        federates_with: texts(&["twice.test", "twice.test"]),
        ..sent()
    };
    let (code, message, stored) = s.create_one(entry).await;
    assert_eq!(code, Code::Ok, "{message}");
    assert_eq!(stored.expect("it").federates_with, texts(&["twice.test"]));
}

pub async fn the_servers_own_trust_domain_is_taken_though_no_list_of_bundles_shows_it(s: &Server) {
    let own = domains(&["example.org"]);
    match s.call(SpireCall::ListBundles).await {
        SpireAnswer::Bundles(known) => assert!(known.is_disjoint(&own), "{known:?}"),
        other => panic!("{other:?}"),
    }
    let id = id();
    let wanted = Entry {
        federates_with: own.clone(),
        ..entry()
    };
    assert_eq!(s.create(&id, &wanted).await, Outcome::Ok);
    assert_eq!(s.read(&id).await.expect("it").federates_with, own);
    let alone = Entry {
        federates_with: Arc::default(),
        ..wanted.clone()
    };
    for entry in [alone, wanted] {
        let outcome = s.update(&id, &entry, &[Field::FederatesWith]).await;
        assert_eq!(outcome, Outcome::Ok);
    }
}

pub async fn an_id_is_the_clients_choice_within_the_rules_and_may_be_used_again(s: &Server) {
    let (chosen, wanted) = (id(), entry());
    assert_eq!(s.create(&chosen, &wanted).await, Outcome::Ok);
    let stored = s.read(&chosen).await.expect("stored");
    assert!(wanted.changed_fields(&stored).is_empty(), "{stored:?}");
    assert_eq!(s.delete(&chosen).await, Outcome::Ok);
    assert_eq!(s.create(&chosen, &wanted).await, Outcome::Ok, "used again");

    let longest = unique(&"x".repeat(200));
    let longest = format!("{longest}{}", "._-Az09".repeat(40))[..255].to_owned();
    assert_eq!(
        s.create(&EntryId::stored(&longest), &entry()).await,
        Outcome::Ok
    );
    for bad in ["a/b", "a b", "\u{fc}", &"x".repeat(256)] {
        let outcome = s.create(&EntryId::stored(bad), &entry()).await;
        let permanent =
            matches!(&outcome, Outcome::Refused(f) if f.class == FailureClass::Permanent);
        assert!(permanent, "{bad:?}: {outcome:?}");
    }

    let unnamed = || types::Entry {
        id: String::new(),
        ..sent()
    };
    let told = s.create_sent(vec![unnamed(), unnamed()], None).await;
    let given: BTreeSet<String> = told
        .into_iter()
        .map(|(code, message, entry)| {
            assert_eq!(code, Code::Ok, "{message}");
            entry.expect("it").id
        })
        .collect();
    assert_eq!(given.len(), 2, "each is given one of its own");
    assert!(!given.contains(""));
}

pub async fn results_come_back_through_the_output_mask(s: &Server) {
    let wanted = || types::Entry {
        hint: "h".into(),
        dns_names: texts(&["a.test"]),
        ..sent()
    };
    let nothing = Some(EntryMask::default());
    let hint = Some(EntryMask {
        hint: true,
        ..EntryMask::default()
    });
    for mask in [None, nothing, hint] {
        let wanted = wanted();
        let expected = match &mask {
            None => types::Entry {
                // What the server adds.
                created_at: 0,
                ..wanted.clone()
            },
            Some(mask) => types::Entry {
                id: wanted.id.clone(),
                hint: if mask.hint { "h" } else { "" }.into(),
                ..types::Entry::default()
            },
        };
        let of_create = s.create_sent(vec![wanted.clone()], mask).await.remove(0);
        let of_similar = s.create_sent(vec![wanted.clone()], mask).await.remove(0);
        assert_eq!((of_create.0, of_similar.0), (Code::Ok, Code::AlreadyExists));
        let of_get = s.get(&wanted.id, mask).await.expect("it");
        let none = Some(EntryMask::default());
        let of_update = s
            .update_sent(vec![wanted.clone()], none, mask)
            .await
            .remove(0);
        assert_eq!(of_update.0, Code::Ok);
        let shown = [of_create.2, of_similar.2, Some(of_get), of_update.2];
        for (at, entry) in shown.into_iter().enumerate() {
            let mut entry = entry.expect("an entry");
            assert_eq!(entry.created_at != 0, mask.is_none(), "{at}: {entry:?}");
            entry.created_at = 0;
            entry.revision_number = 0;
            assert_eq!(entry, expected, "{at}");
        }
    }
}
