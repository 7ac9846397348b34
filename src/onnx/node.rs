//! What a node says: its operator, its inputs and its attributes, read in one place.

use super::{AttributeProto, NodeProto, Operator, TensorProto, attribute_type, is_standard};

impl NodeProto {
    /// The operator, where it is one of the standard domain that is known here.
    pub fn operator(&self) -> Option<Operator> {
        if is_standard(self.domain()) { Operator::named(self.op_type()) } else { None }
    }

    /// The name of input `i`; none where it is absent or left out (an empty name).
    pub fn input_name(&self, i: usize) -> Option<&str> {
        self.input.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|a| a.name() == name)
    }

    /// An integer.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.i
    }

    /// An integer, or what the standard takes where it is absent.
    pub fn int_or(&self, name: &str, default: i64) -> i64 {
        self.int(name).unwrap_or(default)
    }

    /// A number, or what the standard takes where it is absent.
    pub fn float_or(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|a| a.f).unwrap_or(default)
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// A list of numbers.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    /// A text; none where it is absent or not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.attribute(name)?.s.as_deref()?).ok()
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.attribute(name)?.t.as_ref()
    }

    /// A flag that is 0 or 1.
    pub fn flag(&self, name: &str) -> bool {
        self.int_or(name, 0) != 0
    }
}

impl AttributeProto {
    /// An integer.
    pub fn int(name: &str, i: i64) -> Self {
        Self { i: Some(i), ..Self::typed(name, attribute_type::INT) }
    }

    /// A flag that is 0 or 1.
    pub fn flag(name: &str, on: bool) -> Self {
        Self::int(name, i64::from(on))
    }

    /// A number.
    pub fn float(name: &str, f: f32) -> Self {
        Self { f: Some(f), ..Self::typed(name, attribute_type::FLOAT) }
    }

    /// A list of integers.
    pub fn ints(name: &str, ints: Vec<i64>) -> Self {
        Self { ints, ..Self::typed(name, attribute_type::INTS) }
    }

    /// A text.
    pub fn text(name: &str, text: &str) -> Self {
        Self { s: Some(text.as_bytes().into()), ..Self::typed(name, attribute_type::STRING) }
    }

    /// A tensor.
    pub fn tensor(name: &str, t: TensorProto) -> Self {
        Self { t: Some(t), ..Self::typed(name, attribute_type::TENSOR) }
    }

    fn typed(name: &str, kind: i32) -> Self {
        Self { name: Some(name.into()), r#type: Some(kind), ..Self::default() }
    }
}
