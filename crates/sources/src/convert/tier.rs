//! `Tier` (C3).

use brindle_api::TierSpec;
use brindle_model::policy::{Order, Tier, TierEnd};

use crate::object::ObjectKey;
use crate::problem::Problems;
use crate::validate::is_dns_label;

/// Converts a tier; `None` if it says what it may not. The built-in tiers are what they are: an
/// object of such a name may only repeat it.
pub(super) fn tier(key: &ObjectKey, spec: &TierSpec, problems: &mut Problems) -> Option<Tier> {
    let name = &*key.name;
    let before = problems.errors();
    if !is_dns_label(name) {
        let message = format!("`{name}` is not a tier's name: it may have no dots");
        problems.error("metadata.name", message);
    }
    let end = spec.default_action.as_deref().and_then(|action| end(action, problems));
    let built_in = Tier::BUILT_IN.into_iter().find(|(built_in, _)| *built_in == name);
    let order = match spec.order.map(Order::new) {
        Some(None) => {
            problems.error("spec.order", "is not a finite number");
            None
        }
        Some(order) => order,
        None => built_in.map(|(_, tier)| tier.order),
    };
    let tier = Tier {
        order: order.unwrap_or(Order::LAST),
        end: end.or(built_in.map(|(_, tier)| tier.end)).unwrap_or(TierEnd::Drop),
    };
    if let Some((_, built_in)) = built_in {
        if tier.order != built_in.order {
            let message = format!("tier {name} is built in with order {}", built_in.order);
            problems.error("spec.order", message);
        }
        if tier.end != built_in.end {
            let action = if built_in.end == TierEnd::Drop { "Deny" } else { "Pass" };
            problems.error("spec.defaultAction", format!("tier {name} is built in with {action}"));
        }
    }
    (problems.errors() == before).then_some(tier)
}

fn end(action: &str, problems: &mut Problems) -> Option<TierEnd> {
    match action {
        "Deny" => Some(TierEnd::Drop),
        "Pass" => Some(TierEnd::NextTier),
        _ => {
            problems.error("spec.defaultAction", format!("`{action}` is not one of Deny, Pass"));
            None
        }
    }
}
