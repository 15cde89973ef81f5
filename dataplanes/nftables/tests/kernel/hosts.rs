//! Interfaces of the node itself.

use crate::load::loaded;
use crate::stages;

#[test]
fn the_kernel_judges_at_every_stage() {
    stages::judges_at_every_stage(loaded);
}

#[test]
fn policy_before_dnat_sees_what_the_sender_wrote() {
    stages::policy_before_dnat_sees_what_the_sender_wrote(loaded);
}

#[test]
fn untracked_policy_keeps_connection_tracking_away() {
    stages::untracked_policy_keeps_connection_tracking_away(loaded);
}
