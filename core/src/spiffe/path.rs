//! Paths of SPIFFE IDs: empty, or `/` and segments.

use super::SpiffeError;

fn is_segment_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')
}

/// Whether `segment` can stand between two slashes of a path.
pub fn is_segment(segment: &str) -> bool {
    !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(is_segment_byte)
}

/// Checks a path as go-spiffe does, with the same error for the same input; the first problem from the left wins.
///
/// The empty path is legal (the ID of the trust domain itself).
pub fn validate_path(path: &str) -> Result<(), SpiffeError> {
    if path.is_empty() {
        return Ok(());
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(SpiffeError::NoLeadingSlash);
    };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() {
            return Err(if segments.peek().is_none() {
                SpiffeError::TrailingSlash
            } else {
                SpiffeError::EmptySegment
            });
        }
        if !segment.bytes().all(is_segment_byte) {
            return Err(SpiffeError::BadPathSegmentChar);
        }
        if segment == "." || segment == ".." {
            return Err(SpiffeError::DotSegment);
        }
    }
    Ok(())
}

/// Whether `path` is `ancestor` or below it, by whole segments: `/a/node2` is not under `/a/node`.
///
/// ```
/// use registrar_core::spiffe::is_under;
/// assert!(is_under("/a/node/x", "/a/node"));
/// assert!(is_under("/a/node", "/a/node"));
/// assert!(!is_under("/a/node2", "/a/node"));
/// ```
pub fn is_under(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
