//! One line of a bench result.

/// One measured figure. `ratio` is `value / baseline`, taken pairwise in one run, because these
/// figures come from machines whose speed drifts.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    /// What was measured; the key under which `limits.toml` names its limit.
    pub case: String,
    /// The figure.
    pub value: f64,
    /// Its unit: `ms`, `us`, `MiB`, `msg/s`, …
    pub unit: &'static str,
    /// What it is held against, in the same unit.
    pub baseline: Option<f64>,
    /// `value / baseline`, or the median of the paired ratios.
    pub ratio: Option<f64>,
    /// Filled from `limits.toml`: the greatest `ratio` if there is one, else the greatest `value`.
    pub limit: Option<f64>,
}

impl Row {
    /// A figure on its own.
    pub fn absolute(case: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { case: case.into(), value, unit, baseline: None, ratio: None, limit: None }
    }

    /// A figure beside its baseline; `ratio` is the median of paired ratios.
    pub fn paired(
        case: impl Into<String>,
        value: f64,
        unit: &'static str,
        baseline: f64,
        ratio: f64,
    ) -> Self {
        let (baseline, ratio) = (Some(baseline), Some(ratio));
        Self { case: case.into(), value, unit, baseline, ratio, limit: None }
    }

    /// Whether the limit, if there is one, is kept.
    pub fn within_limit(&self) -> bool {
        self.limit.is_none_or(|limit| self.ratio.unwrap_or(self.value) <= limit)
    }
}
