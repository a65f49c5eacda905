//! What systemd is told (sd_notify(3)), where it has started us. Anywhere else, nobody is told anything.

use std::time::Duration;

use sd_notify::NotifyState;

/// This process serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// This process drains.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The process `pid` has taken over, and is to be looked after from now on.
pub(crate) fn hand_over(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// Says again and again that all is well, for as long as `is_well` finds it so, if systemd wants to hear it: after half of
/// the time that it would wait.
pub(crate) async fn watch(is_well: impl Fn() -> bool) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut beat = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
    loop {
        beat.tick().await;
        if is_well() {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a worker has stood still: systemd is not told that all is well");
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
