//! The cron trigger: components are called at times, in UTC.
//!
//! A run that takes longer than its period overlaps with the next. What was missed, as when the machine slept, is not
//! made up for.

use std::{sync::Arc, time::Duration};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use gyre_telemetry::Clock;
use jiff::{Timestamp, tz::TimeZone};

use super::{Listener, Stop, TriggerError};
use crate::{event::Event, loaded::Loaded, spans};

/// How long a listener sleeps at most before it looks at the clock again, which may have been set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// One trigger.
pub(super) struct Schedule {
    cron: Cron,
    component: Arc<str>,
}

pub(super) fn plan(loaded: &Loaded) -> Result<Vec<Schedule>, TriggerError> {
    let schedules = loaded.events.cron.iter().map(|trigger| {
        let cron = parse(&trigger.cron_expression).map_err(|reason| TriggerError::Cron {
            trigger: trigger.id.clone(),
            expression: trigger.cron_expression.clone(),
            reason,
        })?;
        Ok(Schedule { cron, component: trigger.component.as_str().into() })
    });
    schedules.collect()
}

/// Six fields, the seconds first, or seven with the year.
fn parse(expression: &str) -> Result<Cron, String> {
    let fields = expression.split_whitespace().count();
    if !matches!(fields, 6 | 7) {
        return Err(format!("expected 6 or 7 fields, the seconds first, but it has {fields}"));
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Optional)
        .dom_and_dow(true)
        .build();
    parser.parse(expression).map_err(|error| error.to_string())
}

/// When it is time for the first time after `now`; nothing if never.
fn next(cron: &Cron, now: Timestamp) -> Option<Timestamp> {
    let now = now.to_zoned(TimeZone::UTC);
    cron.find_next_occurrence(&now, false).ok().map(|next| next.timestamp())
}

impl Schedule {
    /// Calls a component each time after `since`, until there is no further one, or none before it is to end.
    pub(super) async fn listen(self, listener: Listener, clock: Clock, since: Timestamp) {
        let Listener { app, mut stop, .. } = listener;
        let component = &self.component;
        let mut after = since;
        while let Some(next) = next(&self.cron, after) {
            let Some(now) = reach(next, &clock, &mut stop).await else { return };
            after = now;
            let seconds = u64::try_from(now.as_second()).unwrap_or_default();
            let span = spans::of_event("spin_trigger_cron.handle_event");
            tokio::spawn(app.handle("cron", component, Event::Cron(seconds), span));
        }
        app.says_of_triggers(&format!(
            "cron trigger: no time is left at which to call {component}"
        ));
    }
}

/// Waits until a moment has come and returns the time then, at least that moment; nothing if the listener is to end before
/// it. A moment that has come by the time at which it is to end is still this listener's, so that each belongs to
/// exactly one.
async fn reach(moment: Timestamp, clock: &Clock, stop: &mut Stop) -> Option<Timestamp> {
    loop {
        let now = clock.now();
        let rest = Duration::try_from(moment.duration_since(now)).unwrap_or_default();
        if rest.is_zero() {
            let is_too_late = stop.ended().is_some_and(|end| moment > end);
            return (!is_too_late).then(|| now.max(moment));
        }
        tokio::select! {
            end = stop.wait() => return end.filter(|end| moment <= *end).map(|_| moment),
            () = tokio::time::sleep(rest.min(LONGEST_SLEEP)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(expression: &str, now: &str) -> String {
        next(&parse(expression).unwrap(), now.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_seconds_come_first_and_the_year_last() {
        let now = "2026-11-21T08:30:00.5Z";
        assert_eq!(after("* * * * * *", now), "2026-11-21T08:30:01Z");
        assert_eq!(after("*/20 * * * * *", now), "2026-11-21T08:30:20Z");
        assert_eq!(after("0 0 12 1 1 *", now), "2027-01-01T12:00:00Z");
        assert_eq!(after("0 0 12 1 1 * 2030", now), "2030-01-01T12:00:00Z");
        assert_eq!(after("0 0 9 * * MON-FRI", now), "2026-11-23T09:00:00Z");
        assert_eq!(next(&parse("0 0 12 1 1 * 2020").unwrap(), now.parse().unwrap()), None);
    }

    #[test]
    fn mistakes_are_told() {
        let error = parse("* * * * *").unwrap_err();
        assert_eq!(error, "expected 6 or 7 fields, the seconds first, but it has 5");
        assert!(parse("61 * * * * *").is_err());
        assert!(parse("a b c d e f").is_err());
    }
}
