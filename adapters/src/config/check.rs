//! Checks of single values.

use registrar_core::policy::MaxDeletes;

use super::fields::{Fields, Spanned};

/// One of a few words.
pub(super) fn one_of<T: Copy>(
    fields: &mut Fields,
    key: &str,
    default: &str,
    words: &[(&str, T)],
) -> Option<T> {
    let word = fields.text(key, default);
    let found = words
        .iter()
        .find(|(w, _)| w.eq_ignore_ascii_case(&word.value));
    if found.is_none() {
        let mut names: Vec<String> = words.iter().map(|(w, _)| format!("{w:?}")).collect();
        let last = names.pop().unwrap_or_default();
        let help = format!("valid values are {} and {last}", names.join(", "));
        fields.reject(word.span, format!("{key} is {:?}", word.value), &help);
    }
    found.map(|(_, value)| *value)
}

/// `"30%"`, or a number.
pub(super) fn max_deletes(fields: &mut Fields) -> MaxDeletes {
    let word = fields.text("max_deletes", "30%");
    let value = match word.value.strip_suffix('%') {
        Some(percent) => percent.trim().parse().ok().map(MaxDeletes::Percent),
        None => word.value.parse().ok().map(MaxDeletes::Count),
    };
    value.unwrap_or_else(|| {
        let message = format!(
            "max_deletes is {:?}, which is neither a percentage nor a number",
            word.value
        );
        fields.reject(
            word.span,
            message,
            "write \"30%\", \"100%\" (off), or a number of entries",
        );
        MaxDeletes::Percent(30)
    })
}

/// A lifetime in whole seconds, as SPIRE stores it.
pub(super) fn seconds(fields: &mut Fields, key: &str) -> Option<i32> {
    let duration = fields.duration(key)?;
    let seconds = i32::try_from(duration.value.as_secs()).ok();
    match seconds {
        Some(seconds) if duration.value.subsec_nanos() == 0 => Some(seconds),
        _ => {
            let message = format!("{key} is {:?}; SPIRE stores whole seconds", duration.value);
            fields.reject(
                duration.span,
                message,
                "choose whole seconds, at most 68 years",
            );
            None
        }
    }
}

/// `host:port` or `:port`.
pub(super) fn listen_address(fields: &mut Fields, key: &str, address: &Spanned<String>) {
    let port = address
        .value
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        let message = format!("{key} is {:?}, which is not host:port", address.value);
        fields.reject(
            address.span.clone(),
            message,
            "write \":8080\" or \"127.0.0.1:8080\"",
        );
    }
}

/// A value that is part of a SPIFFE ID.
pub(super) fn segment(fields: &mut Fields, key: &str, value: &Spanned<String>) -> bool {
    let legal = registrar_core::spiffe::is_segment(&value.value);
    if !legal {
        let message = format!(
            "Unable to determine root ID: {key} is {:?}, which cannot be a segment of a SPIFFE ID",
            value.value
        );
        let help = "use letters, digits, dots, dashes and underscores";
        fields.reject(value.span.clone(), message, help);
    }
    legal
}

/// The name of a Lease, made of the value of a key.
pub(super) fn lease_name(fields: &mut Fields, key: &str, value: &Spanned<String>) {
    let legal = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty()
            && part.chars().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let name = format!("{}-leader-election", value.value);
    if name.len() <= 253 && name.split('.').all(legal) {
        return;
    }
    let message = format!(
        "{key} is {:?}, and {name:?} cannot be the name of the Lease that leader_election needs",
        value.value
    );
    let help = "use lower-case letters, digits and dashes, or run one replica with leader_election = false";
    fields.reject(value.span.clone(), message, help);
}
