//! The functions, but `and` and `or`, which are not always evaluated whole.

use std::borrow::Cow;

use super::{
    Context, MAX_OUTPUT,
    ast::Function,
    printf, too_long,
    value::{Value, html, printed, urlquery},
};

/// What a function makes of its arguments.
pub(super) fn call<'v>(
    function: Function,
    arguments: &[Value<'v>],
    context: &'v Context,
) -> Result<Value<'v>, String> {
    let value = match (function, arguments) {
        (Function::Not, [value]) => Value::Bool(!value.truth(context)),
        (Function::Eq, [first, others @ ..]) => Value::Bool(equal(first, others)?),
        (Function::Ne, [a, b]) => Value::Bool(!equal(a, std::slice::from_ref(b))?),
        (Function::Lt, [a, b]) => Value::Bool(order(a, b)?.is_lt()),
        (Function::Le, [a, b]) => Value::Bool(order(a, b)?.is_le()),
        (Function::Gt, [a, b]) => Value::Bool(order(a, b)?.is_gt()),
        (Function::Ge, [a, b]) => Value::Bool(order(a, b)?.is_ge()),
        (Function::Index, [item, indexes @ ..]) => {
            let mut item = item.clone();
            for at in indexes {
                item = index(&item, at, context)?;
            }
            item
        }
        (Function::Slice, [Value::Text(text), indexes @ ..]) => slice(text, indexes)?,
        (Function::Len, [Value::Text(text)]) => Value::Int(text.len() as i64),
        (Function::Len, [Value::Context]) => Value::Int(context.len() as i64),
        (Function::Printf, [Value::Text(format), values @ ..]) => {
            made(printf::print(format, values)?)
        }
        (Function::Print, values) => made(joined(values)?),
        (Function::Html, values) => made(html(&joined(values)?)),
        (Function::Urlquery, values) => made(urlquery(&joined(values)?)),
        (Function::Println, values) => {
            values.iter().try_for_each(Value::must_print)?;
            let words: Vec<Cow<'_, str>> = values.iter().map(Value::printed).collect();
            made(words.join(" ") + "\n")
        }
        (function, _) => {
            return Err(format!(
                "{} cannot be used on these values",
                function.name()
            ));
        }
    };
    match value.bytes() > MAX_OUTPUT {
        true => Err(too_long()),
        false => Ok(value),
    }
}

fn joined(values: &[Value<'_>]) -> Result<String, String> {
    values.iter().try_for_each(Value::must_print)?;
    Ok(printed(values))
}

fn index<'v>(
    item: &Value<'v>,
    index: &Value<'v>,
    context: &'v Context,
) -> Result<Value<'v>, String> {
    match (item, index) {
        // As in Go, a missing key is worth the empty string here.
        (Value::Context, Value::Text(key)) => {
            let found = context.get(&**key).map(|v| &**v);
            Ok(Value::text(found.unwrap_or_default()))
        }
        (Value::Text(text), Value::Int(n)) => usize::try_from(*n)
            .ok()
            .and_then(|n| text.as_bytes().get(n))
            .map(|byte| Value::Int(i64::from(*byte)))
            .ok_or_else(|| format!("index out of range: {n}")),
        (item, index) => Err(format!(
            "can't index {} with {}",
            item.kind().shown(),
            index.kind().shown()
        )),
    }
}

fn made<'v>(text: String) -> Value<'v> {
    Value::Text(Cow::Owned(text))
}

fn equal(first: &Value<'_>, others: &[Value<'_>]) -> Result<bool, String> {
    for other in others {
        let equal = match (first, other) {
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            _ => return Err("incompatible types for comparison".into()),
        };
        if equal {
            return Ok(true);
        }
    }
    Ok(false)
}

fn order(a: &Value<'_>, b: &Value<'_>) -> Result<std::cmp::Ordering, String> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        _ => Err("incompatible types for comparison".into()),
    }
}

fn slice<'v>(text: &str, indexes: &[Value<'v>]) -> Result<Value<'v>, String> {
    let mut bounds = [0, text.len()];
    if indexes.len() > 2 {
        return Err("cannot 3-index slice a string".into());
    }
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        let Value::Int(n) = index else {
            return Err("slice takes a string and numbers".into());
        };
        *bound = usize::try_from(*n)
            .ok()
            .filter(|n| *n <= text.len())
            .ok_or_else(|| format!("index out of range: {n}"))?;
    }
    let [from, to] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    let part = text.get(from..to);
    part.map(|part| made(part.to_owned()))
        .ok_or_else(|| format!("slice {from} to {to} cuts a character in two"))
}
