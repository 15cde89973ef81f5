//! `make bench BENCH=name`: runs one bench (or `all`), prints a table, writes
//! `target/bench/<name>.json` and fails when a limit of `benches/limits.toml` is missed.
//!
//! A bench is a plain function that returns rows. Limits stand in one file, so that they can be
//! read at a glance and no bench judges itself.

mod bgp;
mod cni;
mod compiler;
mod connections;
mod cpu;
mod first_packet;
mod fleet;
mod heap;
mod iptables;
mod memory;
mod nft_delta;
mod nft_table;
mod packet_path;
mod pods;
mod row;
mod timing;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use heap::Counting;
use row::Row;

#[global_allocator]
static HEAP: Counting = Counting;

/// A bench: its name, and the function that measures.
type Bench = (&'static str, fn() -> Result<Vec<Row>>);

/// Every bench by name.
const BENCHES: &[Bench] = &[
    ("bgp", bgp::bgp),
    ("cni", cni::cni),
    ("compiler", compiler::compiler),
    ("connections", connections::connections),
    ("first-packet", first_packet::first_packet),
    ("iptables", iptables::iptables),
    ("memory", memory::memory),
    ("nft-delta", nft_delta::nft_delta),
    ("nft-table", nft_table::nft_table),
    ("packet-path", packet_path::packet_path),
];

/// Measure, and hold the figures against their limits.
#[derive(Parser)]
struct Arguments {
    /// A bench's name, or `all`.
    bench: String,
    /// What a process that a bench measures has to do.
    #[arg(hide = true)]
    plan: Option<String>,
}

/// What is written as JSON.
#[derive(serde::Serialize)]
struct Report<'a> {
    bench: &'a str,
    kernel: String,
    cpu: String,
    rows: &'a [Row],
}

fn main() -> Result<ExitCode> {
    let Arguments { bench: name, plan } = Arguments::parse();
    if let Some(plan) = plan {
        bgp::child(&plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    let limits: BTreeMap<String, BTreeMap<String, f64>> =
        toml::from_str(include_str!("../limits.toml")).context("benches/limits.toml")?;
    let chosen: Vec<&Bench> =
        BENCHES.iter().filter(|(known, _)| name == "all" || name == *known).collect();
    if chosen.is_empty() {
        let known: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        bail!("no bench {name:?}: there are {} and all", known.join(", "));
    }
    let mut missed = Vec::new();
    for (name, measure) in chosen {
        let mut rows = measure().with_context(|| format!("bench {name}"))?;
        let limits = limits.get(*name);
        for row in &mut rows {
            row.limit = limits.and_then(|l| l.get(&row.case)).copied();
        }
        if let Some(stray) =
            limits.into_iter().flatten().find(|(case, _)| !rows.iter().any(|r| r.case == **case))
        {
            bail!(
                "limits.toml names the case {:?} of {name}, which the bench did not report",
                stray.0
            );
        }
        print!("{}", table(name, &rows));
        write_report(name, &rows)?;
        missed.extend(
            rows.iter().filter(|r| !r.within_limit()).map(|r| format!("{name}: {}", r.case)),
        );
    }
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("limit missed: {}", missed.join("; "));
    Ok(ExitCode::FAILURE)
}

fn table(name: &str, rows: &[Row]) -> String {
    let cell = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), figure);
    let width = rows.iter().map(|r| r.case.len()).max().unwrap_or(0).max(4);
    let mut text = format!("{name}\n");
    text += &format!(
        "  {:width$}  {:>10}  {:6}  {:>10}  {:>8}  {:>8}\n",
        "case", "value", "unit", "baseline", "ratio", "limit"
    );
    for row in rows {
        text += &format!(
            "  {:width$}  {:>10}  {:6}  {:>10}  {:>8}  {:>8}  {}\n",
            row.case,
            figure(row.value),
            row.unit,
            cell(row.baseline),
            cell(row.ratio),
            cell(row.limit),
            if row.limit.is_none() {
                ""
            } else if row.within_limit() {
                "ok"
            } else {
                "MISSED"
            }
        );
    }
    text
}

/// Three significant digits or whole numbers, whichever says more.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn write_report(name: &str, rows: &[Row]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    let cpu = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let cpu = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown");
    let report = Report {
        bench: name,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("read the kernel's release")?
            .trim()
            .to_owned(),
        cpu: cpu.trim_start_matches([' ', '\t', ':']).to_owned(),
        rows,
    };
    let path = root.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("write {}", path.display()))?;
    println!("  written to target/bench/{name}.json");
    Ok(())
}
