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

use super::{Stop, TriggerError, Triggers};
use crate::{App, event::Event, loaded::Loaded, spans};

/// How long a listener sleeps at most before it looks at the clock again, which may have been set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

pub(super) fn start(
    app: &Arc<App>,
    loaded: &Loaded,
    stop: &Stop,
    triggers: &mut Triggers,
) -> Result<(), TriggerError> {
    for trigger in &loaded.events.cron {
        let cron = parse(&trigger.cron_expression).map_err(|reason| TriggerError::Cron {
            trigger: trigger.id.clone(),
            expression: trigger.cron_expression.clone(),
            reason,
        })?;
        let component: Arc<str> = trigger.component.as_str().into();
        let (app, mut stop) = (app.clone(), stop.clone());
        triggers.tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = tick(&app, &component, &cron, &Clock::System) => {}
            }
        });
    }
    Ok(())
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

/// Calls a component each time, until there is no further one.
async fn tick(app: &Arc<App>, component: &Arc<str>, cron: &Cron, clock: &Clock) {
    while let Some(next) = next(cron, clock.now()) {
        let now = loop {
            let now = clock.now();
            let rest = next.duration_since(now);
            let Ok(rest) = Duration::try_from(rest) else { break now };
            if rest.is_zero() {
                break now;
            }
            tokio::time::sleep(rest.min(LONGEST_SLEEP)).await;
        };
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        tokio::spawn(app.handle(
            "cron",
            component,
            Event::Cron(seconds),
            spans::of_event("spin_trigger_cron.handle_event"),
        ));
    }
    app.says_of_trigger(&format!("cron trigger: no time is left at which to call {component}"));
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
