//! `brindlectl config show`: every setting of an agent, and who says so.

use anyhow::{Context, Result};
use brindle_model::admin::SettingReport;
use brindle_model::settings::{Objects, Settings};
use brindle_sources::snapshot::Snapshot;

use crate::client::Client;
use crate::output::{self, Format};

/// Asks the agent.
///
/// # Errors
/// It does not answer.
pub fn of_agent(client: &Client) -> Result<Vec<SettingReport>> {
    let asked = client.get("/settings");
    asked.context("give --kubeconfig or --dir to ask what objects say for a node")
}

/// What objects say for a node. Its agent's command line, and the variable for emergencies, are not
/// known where it does not run.
pub fn of_objects(node: &str, read: &Snapshot) -> Vec<SettingReport> {
    let nothing = Settings::default();
    let objects = Objects::of(node, &read.changes.updates);
    objects.effective(node, &nothing, &nothing).reports(|_| None)
}

/// Writes settings.
///
/// # Errors
/// They cannot be written in the format.
pub fn render(settings: &[SettingReport], format: Format) -> Result<String> {
    output::render(format, &settings, || {
        let rows = settings.iter().map(|setting| {
            let SettingReport { setting, value, origin, live, remark } = setting;
            let taken = if *live { "at once" } else { "at start" };
            let remark = remark.clone().unwrap_or_default();
            vec![setting.clone(), value.clone(), origin.clone(), taken.to_owned(), remark]
        });
        output::table(&["SETTING", "VALUE", "FROM", "TAKEN", "REMARK"], rows)
    })
}
