//! What `BatchDeleteEntry` and `GetEntry` promise, and the pages of `ListEntries`.

use registrar_core::ports::FailureClass;

use super::*;

pub async fn a_deleted_parent_leaves_its_children(s: &Server) {
    let (parent, child) = (id(), id());
    let alias = Entry {
        parent_id: spiffe_id("/spire/server"),
        ..entry()
    };
    let below = Entry {
        parent_id: alias.spiffe_id.clone(),
        ..entry()
    };
    assert_eq!(s.create(&parent, &alias).await, Outcome::Ok);
    assert_eq!(s.create(&child, &below).await, Outcome::Ok);
    assert_eq!(s.delete(&parent).await, Outcome::Ok);
    assert!(s.read(&child).await.is_some());
}

pub async fn pages_show_every_entry_once_and_end_without_a_token(s: &Server) {
    let mut made = BTreeSet::new();
    for _ in 0..7 {
        let id = id();
        assert_eq!(s.create(&id, &entry()).await, Outcome::Ok);
        made.insert(id);
    }
    let mut seen = Vec::new();
    let mut page_token = None;
    loop {
        match s
            .call(SpireCall::List {
                page_token,
                page_size: 3,
            })
            .await
        {
            SpireAnswer::Page { entries, next, .. } => {
                assert!(entries.len() <= 3);
                assert!(
                    next.is_some() || entries.is_empty(),
                    "only an empty page is the last"
                );
                seen.extend(entries.into_iter().map(|e| e.id));
                match next {
                    Some(token) => page_token = Some(token),
                    None => break,
                }
            }
            other => panic!("{other:?}"),
        }
    }
    for id in made {
        assert_eq!(seen.iter().filter(|s| **s == id).count(), 1, "{id}");
    }
}

pub async fn an_entry_changed_during_a_scan_is_seen_once_and_a_later_one_at_most_once(s: &Server) {
    let page = async |page_token| match s
        .call(SpireCall::List {
            page_token,
            page_size: 2,
        })
        .await
    {
        SpireAnswer::Page { entries, next, .. } => (entries, next),
        other => panic!("{other:?}"),
    };
    let (first, second, late) = (id(), id(), id());
    let wanted = entry();
    assert_eq!(s.create(&first, &wanted).await, Outcome::Ok);
    assert_eq!(s.create(&second, &entry()).await, Outcome::Ok);
    let mut seen = Vec::new();
    let (mut entries, mut next) = page(None).await;
    let changed = Entry {
        spiffe_id: spiffe_id(&format!("/contract/{}", unique("changed"))),
        ..wanted
    };
    let outcome = s.update(&first, &changed, &[Field::SpiffeId]).await;
    assert_eq!(outcome, Outcome::Ok);
    assert_eq!(s.create(&late, &entry()).await, Outcome::Ok);
    loop {
        seen.extend(entries.into_iter().map(|e| e.id));
        let Some(token) = next else { break };
        (entries, next) = page(Some(token)).await;
    }
    let times = |id: &EntryId| seen.iter().filter(|s| *s == id).count();
    assert_eq!((times(&first), times(&second)), (1, 1));
    assert!(times(&late) <= 1);
}

pub async fn a_delete_says_what_became_of_each_id(s: &Server) {
    let there = id();
    assert_eq!(s.create(&there, &entry()).await, Outcome::Ok);
    let told = s.delete_sent(&[there.as_str(), "", there.as_str()]).await;
    let expected = [
        (Code::Ok, "OK", there.as_str()),
        (Code::InvalidArgument, "missing entry ID", ""),
        (Code::NotFound, "entry not found", there.as_str()),
    ];
    assert_eq!(told.len(), expected.len());
    for ((code, message, id), expected) in told.iter().zip(expected) {
        assert_eq!((*code, &**message, &**id), expected);
    }
    // As the registrar hears it.
    assert_eq!(s.read(&there).await, None);
    assert_eq!(s.create(&there, &entry()).await, Outcome::Ok);
    assert_eq!(s.delete(&there).await, Outcome::Ok);
    assert_eq!(s.delete(&there).await, Outcome::NotFound);
    let outcome = s.delete(&EntryId::stored("")).await;
    let permanent = matches!(&outcome, Outcome::Refused(f) if f.class == FailureClass::Permanent);
    assert!(permanent, "{outcome:?}");
}

pub async fn a_read_of_an_unknown_or_empty_id_is_an_error(s: &Server) {
    for (id, code, message) in [
        (&*unique("unknown"), Code::NotFound, "entry not found"),
        ("", Code::InvalidArgument, "missing ID"),
    ] {
        let status = s.get(id, None).await.expect_err("an error");
        assert_eq!((status.code(), status.message()), (code, message));
    }
    assert_eq!(s.read(&id()).await, None, "as the registrar hears it");
}

pub async fn without_a_page_size_everything_comes_at_once(s: &Server) {
    let parent = format!("/contract/{}", unique("parent"));
    let entry = || types::Entry {
        parent_id: Some(path(&parent)),
        ..sent()
    };
    let made = made(s, [entry(), entry(), entry()]).await;
    for page_size in [0, -1] {
        let request = ListEntriesRequest {
            filter: Some(Filter {
                by_parent_id: Some(path(&parent)),
                ..Filter::default()
            }),
            page_size,
            page_token: "999999999".into(),
            ..ListEntriesRequest::default()
        };
        let (entries, next) = s.list(request).await.expect("listed");
        let ids: Vec<&String> = entries.iter().map(|e| &e.id).collect();
        assert_eq!(ids, made.iter().collect::<Vec<_>>(), "the token is ignored");
        assert_eq!(next, "");
    }
}

pub async fn a_token_is_the_number_of_a_row_and_no_number_is_used_twice(s: &Server) {
    let parent = format!("/contract/{}", unique("parent"));
    let page = async |token: &str| {
        let request = ListEntriesRequest {
            filter: Some(Filter {
                by_parent_id: Some(path(&parent)),
                ..Filter::default()
            }),
            page_size: 1000,
            page_token: token.to_owned(),
            ..ListEntriesRequest::default()
        };
        s.list(request).await
    };
    let entry = || types::Entry {
        parent_id: Some(path(&parent)),
        ..sent()
    };
    let [first] = made(s, [entry()]).await;
    let (entries, token) = page("").await.expect("listed");
    assert_eq!(entries.len(), 1);
    let number: u64 = token
        .parse()
        .expect("a decimal number, on a short page too");
    let empty = (Vec::new(), String::new());
    assert_eq!(page(&token).await.expect("listed"), empty, "the last page");
    s.delete(&EntryId::stored(&first)).await;
    let [second] = made(s, [entry()]).await;
    let (entries, later) = page(&token).await.expect("listed");
    assert_eq!(entries[0].id, second, "what came later is behind the token");
    assert!(
        later.parse::<u64>().expect("a number") > number,
        "{later} after {token}"
    );
    let status = page("x").await.expect_err("no number");
    let (code, message) = (status.code(), status.message());
    assert_eq!(code, Code::Internal, "{message}");
    assert!(message.starts_with("failed to list entries: "), "{message}");
    assert!(message.ends_with("could not parse token 'x'"), "{message}");
}

pub async fn a_row_that_is_no_entry_is_left_out_of_lists(s: &Server) {
    let parent = format!("/contract/{}", unique("parent"));
    let entry = || types::Entry {
        parent_id: Some(path(&parent)),
        ..sent()
    };
    let whole = [entry(), entry(), entry()];
    let [first, broken, last] = made(s, whole).await;
    let request = ListEntriesRequest {
        filter: Some(Filter {
            by_parent_id: Some(path(&parent)),
            ..Filter::default()
        }),
        ..ListEntriesRequest::default()
    };
    s.spoil(&broken);
    let listed = s.list(request).await;
    let ids: Vec<String> = listed
        .expect("listed")
        .0
        .into_iter()
        .map(|e| e.id)
        .collect();
    assert_eq!(ids, [first, last]);
}
