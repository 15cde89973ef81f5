//! Settings of an agent that are no object: those of the variable for emergencies.

use brindle_api::{API_VERSION, AgentConfiguration};
use brindle_model::settings::Settings;
use k8s_openapi::Resource;
use serde_json::json;

use crate::convert::{Input, convert};
use crate::decode::decode;
use crate::intern::Interner;
use crate::object::{Kind, ObjectKey};
use crate::yaml;

/// What is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

/// Reads the fields of an AgentConfiguration's `spec`, such as `{logLevel: Debug}`, for one agent.
///
/// # Errors
/// It is no YAML, or anything in it is unknown, wrong or without effect: nobody sees a status.
pub fn read(text: &str) -> Result<Settings, SettingsError> {
    let Some(section) = yaml::sections(text).next() else { return Ok(Settings::default()) };
    let spec = yaml::parse(section).map_err(SettingsError)?;
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": AgentConfiguration::KIND,
        "metadata": { "name": "default" },
        "spec": spec,
    });
    let key = ObjectKey { kind: Kind::AgentConfiguration, namespace: None, name: "default".into() };
    let converted = convert(&key, &decode(&key, object), &mut Interner::default());
    let problems: Vec<_> = converted.problems.iter().map(ToString::to_string).collect();
    match converted.input {
        Some(Input::AgentConfiguration(found)) if problems.is_empty() => Ok(found.settings.clone()),
        _ => Err(SettingsError(problems.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emergency_is_typed() {
        assert_eq!(read(" \n"), Ok(Settings::default()));
        let found = read("{logLevel: Debug, packetsKept: 0}").unwrap();
        assert_eq!((found.log.as_deref(), found.packets_kept), (Some("debug"), Some(0)));
        for (text, said) in [
            ("{loglevel: Debug}", "unknown field `loglevel`"),
            ("{logLevel: Loud}", "`Loud` is not one of Error, Warn, Info, Debug, Trace"),
            ("{nodeSelector: {}}", "spec.nodeSelector"),
            ("[1]", ""),
            ("{", ""),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said) && !error.is_empty(), "{text}: {error}");
        }
    }
}
