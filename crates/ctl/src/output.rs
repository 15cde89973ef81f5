//! How answers are written.

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

/// Format of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// Writes a value in a format; as a table, what `table` makes of it.
///
/// # Errors
/// The value cannot be written in the format.
pub fn render<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> String,
) -> Result<String> {
    Ok(match format {
        Format::Table => table(),
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Yaml => serde_saphyr::to_string(value)?,
    })
}

/// A table of plain columns, as wide as their contents: it reads the same on a terminal, in a pipe
/// and in a log.
pub fn table<R: IntoIterator<Item = String>>(
    header: &[&str],
    rows: impl IntoIterator<Item = R>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    // Each cell has a space on either side; the outermost are of no use.
    let line = |line: String| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n";
    table.lines().map(line).collect()
}

/// `name: value` lines with aligned values.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = fields.iter().map(|(name, value)| format!("{name:width$}  {value}\n"));
    lines.collect()
}

/// A span of seconds as people say it: `3d4h`, `5m10s`, `7s`.
pub fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, m) => format!("{m}m{}s", seconds % 60),
        (0, h, m) => format!("{h}h{m}m"),
        (d, h, _) => format!("{d}d{h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, text) in
            [(0.4, "0s"), (59.9, "59s"), (61.0, "1m1s"), (7260.0, "2h1m"), (180_000.0, "2d2h")]
        {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn tables_have_no_frames() {
        let rows = [["a".to_owned(), "long value".to_owned()], ["bb".to_owned(), String::new()]];
        assert_eq!(table(&["X", "Y"], rows), "X   Y\na   long value\nbb\n");
    }
}
