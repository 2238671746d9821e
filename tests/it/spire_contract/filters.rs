//! What the filters of `ListEntries` and `CountEntries` promise.

use registrar_adapters::spire::pb::{
    entry::{CountEntriesRequest, count_entries_request, list_entries_request::Filter},
    types::{FederatesWithMatch, SelectorMatch},
};

use super::*;

/// `k8s:<value>` each.
fn selectors(values: &[&str]) -> Vec<types::Selector> {
    let selector = |value: &&str| types::Selector {
        r#type: "k8s".into(),
        value: (*value).into(),
    };
    values.iter().map(selector).collect()
}

fn by_selectors(values: &[&str], kind: i32) -> Option<SelectorMatch> {
    Some(SelectorMatch {
        selectors: selectors(values),
        r#match: kind,
    })
}

fn by_domains(domains: &[&str], kind: i32) -> Option<FederatesWithMatch> {
    Some(FederatesWithMatch {
        trust_domains: texts(domains),
        r#match: kind,
    })
}

fn of_count(filter: Filter) -> CountEntriesRequest {
    CountEntriesRequest {
        filter: Some(count_entries_request::Filter {
            by_spiffe_id: filter.by_spiffe_id,
            by_parent_id: filter.by_parent_id,
            by_selectors: filter.by_selectors,
            by_federates_with: filter.by_federates_with,
            by_hint: filter.by_hint,
            by_downstream: filter.by_downstream,
        }),
    }
}

/// The IDs that fit, which a count says too.
async fn fitting(s: &Server, filter: Filter) -> Vec<String> {
    let request = ListEntriesRequest {
        filter: Some(filter.clone()),
        ..ListEntriesRequest::default()
    };
    let (entries, _) = s.list(request).await.expect("listed");
    let count = s.api.clone().count_entries(of_count(filter)).await;
    let count = count.expect("counted").into_inner().count;
    assert_eq!(count as usize, entries.len());
    entries.into_iter().map(|e| e.id).collect()
}

pub async fn filters_are_joined_and_malformed_ones_refused(s: &Server) {
    s.bundle("filter.test").await;
    let parent = format!("/contract/{}", unique("parent"));
    let with = |change: fn(&mut types::Entry)| {
        let mut entry = types::Entry {
            parent_id: Some(path(&parent)),
            ..sent()
        };
        change(&mut entry);
        entry
    };
    let alias = types::Entry {
        parent_id: Some(path("/spire/server")),
        ..sent()
    };
    let alias_id = alias.spiffe_id.clone();
    let plain = with(|_| ());
    let plain_id = plain.spiffe_id.clone();
    let entries = [
        plain,
        with(|e| e.hint = "wanted".into()),
        with(|e| {
            e.hint = "wanted".into();
            e.downstream = true;
        }),
        with(|e| e.federates_with = texts(&["filter.test"])),
        alias,
    ];
    let [plain, hinted, both, federated, alias] = made(s, entries).await;
    let under = || Filter {
        by_parent_id: Some(path(&parent)),
        ..Filter::default()
    };
    let all = [&plain, &hinted, &both, &federated];
    let cases: [(Filter, &[&String]); 9] = [
        (under(), &all),
        (
            Filter {
                by_spiffe_id: plain_id,
                ..under()
            },
            &[&plain],
        ),
        (
            Filter {
                by_hint: Some("wanted".into()),
                ..under()
            },
            &[&hinted, &both],
        ),
        (
            Filter {
                by_hint: Some(String::new()),
                ..under()
            },
            &all,
        ),
        (
            Filter {
                by_downstream: Some(true),
                ..under()
            },
            &[&both],
        ),
        (
            Filter {
                by_downstream: Some(false),
                ..under()
            },
            &all,
        ),
        (
            Filter {
                by_hint: Some("wanted".into()),
                by_downstream: Some(true),
                by_federates_with: by_domains(&["filter.test"], 3),
                ..under()
            },
            &[],
        ),
        (
            Filter {
                by_selectors: by_selectors(&["ns:contract"], 2),
                by_federates_with: by_domains(&["filter.test"], 3),
                ..under()
            },
            &[&federated],
        ),
        (
            Filter {
                by_spiffe_id: alias_id,
                by_parent_id: Some(path("/spire/server")),
                ..Filter::default()
            },
            &[&alias],
        ),
    ];
    for (filter, expected) in cases {
        let found = fitting(s, filter.clone()).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
    }
    let malformed = [
        (
            Filter {
                by_spiffe_id: Some(path("/spire/agent/x")),
                ..Filter::default()
            },
            "malformed SPIFFE ID filter: ",
        ),
        (
            Filter {
                by_spiffe_id: Some(path("")),
                ..Filter::default()
            },
            "malformed SPIFFE ID filter: ",
        ),
        (
            Filter {
                by_selectors: by_selectors(&[], 0),
                ..Filter::default()
            },
            "malformed selectors filter: empty selector set",
        ),
        (
            Filter {
                by_federates_with: by_domains(&[], 0),
                ..Filter::default()
            },
            "malformed federates with filter: empty trust domain set",
        ),
    ];
    for (filter, begins) in malformed {
        let request = ListEntriesRequest {
            filter: Some(filter.clone()),
            ..ListEntriesRequest::default()
        };
        let of_list = s.list(request).await.expect_err("refused");
        let of_count = s.api.clone().count_entries(of_count(filter)).await;
        for status in [of_list, of_count.expect_err("refused")] {
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().starts_with(begins), "{status}");
        }
    }
}

pub async fn sets_match_exactly_as_a_subset_as_a_superset_or_at_all(s: &Server) {
    let parent = format!("/contract/{}", unique("parent"));
    let domains = ["set-a.test", "set-b.test", "set-c.test"];
    for td in domains {
        s.bundle(td).await;
    }
    let with = |values: &[&str], domains: &[&str]| types::Entry {
        parent_id: Some(path(&parent)),
        selectors: selectors(values),
        federates_with: texts(domains),
        ..sent()
    };
    let [a, b, c] = domains;
    let entries = [
        with(&["sa:a"], &[a]),
        with(&["sa:a", "sa:b"], &[a, b]),
        with(&["sa:a", "sa:b", "sa:c"], &[a, b, c]),
        with(&["sa:c"], &[c]),
        with(&["sa:d"], &[]),
    ];
    let [one, two, three, other, none] = made(s, entries).await;
    let expected: [&[&String]; 4] = [
        &[&two],
        &[&one, &two],
        &[&two, &three],
        &[&one, &two, &three],
    ];
    for (kind, expected) in (0..).zip(expected) {
        let by_selectors = Filter {
            by_parent_id: Some(path(&parent)),
            by_selectors: by_selectors(&["sa:b", "sa:a"], kind),
            ..Filter::default()
        };
        let by_federates_with = Filter {
            by_parent_id: Some(path(&parent)),
            by_federates_with: by_domains(&[b, a], kind),
            ..Filter::default()
        };
        for filter in [by_selectors, by_federates_with] {
            let found = fitting(s, filter.clone()).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
            assert!(!found.contains(&other) && !found.contains(&none));
        }
    }
}

pub async fn a_count_is_that_of_the_list(s: &Server) {
    let parent = format!("/contract/{}", unique("parent"));
    let under = || Filter {
        by_parent_id: Some(path(&parent)),
        ..Filter::default()
    };
    assert_eq!(fitting(s, under()).await.len(), 0);
    let entry = || types::Entry {
        parent_id: Some(path(&parent)),
        ..sent()
    };
    let made = made(s, [entry(), entry(), entry()]).await;
    assert_eq!(fitting(s, under()).await, made);
    let all = s
        .api
        .clone()
        .count_entries(CountEntriesRequest::default())
        .await;
    assert!(
        all.expect("counted").into_inner().count >= 3,
        "without a filter, everything"
    );
}
