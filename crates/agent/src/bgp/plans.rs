//! What changes of routing would do, asked of the bridge: it alone knows the passwords.

use brindle_bgp_speaker::{Command, Commands, Plan, PlanError, Stopped};
use brindle_model::routing::Change;
use tokio::sync::{mpsc, oneshot};

use super::passwords::Passwords;
use super::{command, sensible};

/// Questions that may wait.
const QUEUE: usize = 4;

/// A question, and where its answer goes.
pub(super) type Question = (Vec<Change>, oneshot::Sender<Result<Plan, PlanError>>);

/// Asks what changes of routing would do.
#[derive(Clone, Debug)]
pub struct Plans(mpsc::Sender<Question>);

impl Plans {
    pub(super) fn new() -> (Self, mpsc::Receiver<Question>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// What these changes would do if they came now. Nothing is done.
    ///
    /// # Errors
    /// No plan can be made, or the agent comes down.
    pub async fn plan(&self, changes: Vec<Change>) -> Result<Plan, PlanError> {
        let (answer, answered) = oneshot::channel();
        self.0.send((changes, answer)).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)?
    }
}

/// Puts the orders that the changes would become to a copy of the speaker. The bridge does not wait
/// for it.
pub(super) fn answer(commands: &Commands, passwords: &Passwords, (changes, answer): Question) {
    let mut passwords = passwords.clone();
    let orders = changes.iter().map(|change| sensible(command(change, &mut passwords)));
    let (orders, refused): (Vec<Option<Command>>, Vec<_>) = orders.unzip();
    let commands = commands.clone();
    tokio::spawn(async move {
        let plan = commands.plan(orders.into_iter().flatten().collect()).await;
        let plan = plan.map(|mut plan| {
            plan.refused.extend(refused.into_iter().flatten().map(|reason| reason.to_string()));
            plan
        });
        // Who asked may have gone away.
        drop(answer.send(plan));
    });
}
