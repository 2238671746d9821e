//! The lines of a watch, not as the API server sent them: twice, or in another order.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt};
use serde_json::Value;

/// For how long lines are gathered before they are put into another order.
const GATHERED: Duration = Duration::from_millis(300);

type Lines = Vec<Vec<u8>>;

/// The body with each of its lines twice.
pub fn twice(body: Body) -> Body {
    let doubled = lines(body).map(|line| {
        let line = line?;
        Ok::<_, axum::Error>(Bytes::from([line.clone(), line].concat()))
    });
    Body::from_stream(doubled)
}

/// The body with the lines of some time together, the last object first. What is said of one object stays in order, as any
/// server says it, and bookmarks stay behind what they promise.
pub fn reordered(body: Body) -> Body {
    let begin = (Box::pin(lines(body)), None);
    Body::from_stream(futures::stream::unfold(
        begin,
        async |(mut lines, mut over): (_, Option<axum::Error>)| {
            if let Some(error) = over.take() {
                // What was gathered is out; nothing follows.
                return Some((Err(error), (lines, over)));
            }
            let mut gathered: Lines = match lines.next().await? {
                Ok(line) => vec![line],
                Err(error) => return Some((Err(error), (lines, None))),
            };
            let gathering = async {
                loop {
                    match lines.next().await {
                        Some(Ok(line)) => gathered.push(line),
                        Some(Err(error)) => return Some(error),
                        None => return None,
                    }
                }
            };
            let ended = tokio::time::timeout(GATHERED, gathering).await;
            let bytes = Bytes::from(last_object_first(gathered).concat());
            Some((Ok(bytes), (lines, ended.ok().flatten())))
        },
    ))
}

fn last_object_first(lines: Lines) -> Lines {
    let mut objects: Vec<(String, Lines)> = Vec::new();
    let mut bookmarks = Lines::new();
    for line in lines {
        let event: Value = serde_json::from_slice(&line).unwrap_or_default();
        let metadata = &event["object"]["metadata"];
        let (namespace, name) = (&metadata["namespace"], &metadata["name"]);
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED" | "DELETED") => {
                let key = format!("{namespace}/{name}");
                match objects.iter_mut().find(|(found, _)| *found == key) {
                    Some((_, of_it)) => of_it.push(line),
                    None => objects.push((key, vec![line])),
                }
            }
            _ => bookmarks.push(line),
        }
    }
    let reversed = objects.into_iter().rev().flat_map(|(_, lines)| lines);
    reversed.chain(bookmarks).collect()
}

/// Whole lines, each with its end.
fn lines(body: Body) -> impl Stream<Item = Result<Vec<u8>, axum::Error>> {
    let begin = (body.into_data_stream(), Vec::new());
    futures::stream::try_unfold(begin, async |(mut parts, mut begun): (_, Vec<u8>)| {
        loop {
            if let Some(end) = begun.iter().position(|b| *b == b'\n') {
                let rest = begun.split_off(end + 1);
                return Ok(Some((begun, (parts, rest))));
            }
            match StreamExt::next(&mut parts).await {
                Some(part) => begun.extend_from_slice(&part?),
                None => return Ok(None),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, name: &str, version: &str) -> String {
        format!(
            "{{\"type\":\"{kind}\",\"object\":{{\"metadata\":{{\"name\":\"{name}\",\"resourceVersion\":\"{version}\"}}}}}}\n"
        )
    }

    async fn all(body: Body) -> String {
        let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn objects_change_places_and_the_events_of_one_do_not() {
        let (a, b) = (event("ADDED", "a", "1"), event("ADDED", "b", "2"));
        let (again, bookmark) = (event("DELETED", "a", "3"), event("BOOKMARK", "", "4"));
        let sent = [&*a, &*b, &*again, &*bookmark].concat();
        let expected = [b, a, again, bookmark].concat();
        assert_eq!(all(reordered(Body::from(sent))).await, expected);
    }

    #[tokio::test]
    async fn each_line_comes_twice_in_its_place() {
        let (a, b) = (event("ADDED", "a", "1"), event("ADDED", "b", "2"));
        let sent = [&*a, &*b].concat();
        let expected = [&*a, &*a, &*b, &*b].concat();
        assert_eq!(all(twice(Body::from(sent))).await, expected);
    }
}
