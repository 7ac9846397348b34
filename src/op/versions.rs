//! Versions of operators. `versions.json` holds those of every operator of the ONNX standard.

use std::collections::BTreeMap;
use std::sync::LazyLock;

type Versions = BTreeMap<String, Vec<i64>>;

static VERSIONS: LazyLock<Versions> =
    LazyLock::new(|| serde_json::from_str(include_str!("versions.json")).unwrap_or_default());

/// The version of a standard operator in force at `opset`.
pub fn version_at(op: &str, opset: i64) -> Option<i64> {
    VERSIONS.get(op)?.iter().copied().filter(|v| *v <= opset).max()
}

/// The highest opset whose operators are known here.
pub fn highest_opset() -> i64 {
    VERSIONS.values().flatten().copied().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::Operator;

    #[test]
    fn the_version_in_force_is_the_highest_up_to_the_opset() {
        assert_eq!(version_at("Conv", 17), Some(11));
        assert_eq!(version_at("ReduceSum", 17), Some(13));
        assert_eq!(version_at("Gelu", 17), None);
        assert_eq!(version_at("NoSuchOp", 17), None);
        assert!(highest_opset() >= 28);
    }

    #[test]
    fn every_operator_is_of_the_standard() {
        let lacking: Vec<_> = Operator::ALL.iter().filter(|op| !VERSIONS.contains_key(op.name())).collect();
        assert_eq!(lacking, Vec::<&Operator>::new());
    }
}
