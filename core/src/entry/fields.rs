//! Which fields of an entry an update writes.

use std::fmt;

/// A field of an entry that we may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    /// `spiffe_id`
    SpiffeId,
    /// `parent_id`
    ParentId,
    /// `selectors`
    Selectors,
    /// `dns_names`
    DnsNames,
    /// `federates_with`
    FederatesWith,
    /// `x509_svid_ttl`
    X509SvidTtl,
    /// `jwt_svid_ttl`
    JwtSvidTtl,
    /// `hint`
    Hint,
    /// `downstream`
    Downstream,
}

impl Field {
    /// Every field, in the order of the bits.
    pub const ALL: [Field; 9] = [
        Field::SpiffeId,
        Field::ParentId,
        Field::Selectors,
        Field::DnsNames,
        Field::FederatesWith,
        Field::X509SvidTtl,
        Field::JwtSvidTtl,
        Field::Hint,
        Field::Downstream,
    ];

    /// The field's name in SPIRE's API.
    pub fn name(self) -> &'static str {
        match self {
            Field::SpiffeId => "spiffe_id",
            Field::ParentId => "parent_id",
            Field::Selectors => "selectors",
            Field::DnsNames => "dns_names",
            Field::FederatesWith => "federates_with",
            Field::X509SvidTtl => "x509_svid_ttl",
            Field::JwtSvidTtl => "jwt_svid_ttl",
            Field::Hint => "hint",
            Field::Downstream => "downstream",
        }
    }
}

/// A set of fields: the `input_mask` of an update.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct FieldMask(u16);

impl FieldMask {
    /// Adds a field.
    pub fn insert(&mut self, field: Field) {
        self.0 |= 1 << field as u16;
    }

    /// Whether `field` is in it.
    pub fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u16) != 0
    }

    /// Whether no field is in it. An update with such a mask must never be sent: SPIRE counts it as a change.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The fields, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |f| self.contains(*f))
    }
}

impl FromIterator<Field> for FieldMask {
    fn from_iter<T: IntoIterator<Item = Field>>(fields: T) -> Self {
        let mut mask = Self::default();
        fields.into_iter().for_each(|f| mask.insert(f));
        mask
    }
}

impl fmt::Display for FieldMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, field) in self.iter().enumerate() {
            write!(f, "{}{}", if n == 0 { "" } else { "," }, field.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for FieldMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldMask({self})")
    }
}
