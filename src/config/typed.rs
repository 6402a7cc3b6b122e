//! Values of the file, as the type that their key has.

use toml::Spanned;
use toml::de::DeValue;

use super::keys::{Value, ValueKind};

/// The value as one of this kind; `None` if it has another type.
pub(super) fn typed_value(kind: ValueKind, value: &Spanned<DeValue>) -> Option<Value> {
    match (kind, value.get_ref()) {
        (
            ValueKind::Text(_) | ValueKind::Secret(_) | ValueKind::Override | ValueKind::Choice(_),
            DeValue::String(text),
        ) => Some(Value::Text(text.clone().into_owned())),
        (ValueKind::Integer { .. }, DeValue::Integer(number)) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Integer)
        }
        (ValueKind::Flag(_), DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
        (ValueKind::List(_), DeValue::Array(entries)) => {
            let texts = entries.iter().map(|entry| match entry.get_ref() {
                DeValue::String(text) => Some(text.clone().into_owned()),
                _ => None,
            });
            texts.collect::<Option<_>>().map(Value::List)
        }
        _ => None,
    }
}
