//! What is counted and measured, under Spin's names.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};

use crate::otlp;

/// The bounds of histograms of shares: near those at which alarms are usually set.
const SHARES: [f64; 6] = [0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

pub(crate) struct Instruments {
    requests: Counter<u64>,
    cpu_time: Histogram<f64>,
    memory_on_init: Histogram<u64>,
    memory: Histogram<u64>,
    permits: Counter<u64>,
    permits_rejected: Counter<u64>,
    permit_wait: Histogram<f64>,
    permits_of_kind_used: Histogram<f64>,
    permits_used: Histogram<f64>,
    inferences: Counter<u64>,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        let share = |name| meter.f64_histogram(name).with_boundaries(SHARES.to_vec()).build();
        Self {
            requests: meter.u64_counter("spin.request_count").build(),
            cpu_time: meter.f64_histogram("spin.component_cpu_time").build(),
            memory_on_init: meter.u64_histogram("spin.component_memory_used_on_init").build(),
            memory: meter.u64_histogram("spin.component_memory_used").build(),
            permits: meter.u64_counter("outbound_connection_permits_acquired").build(),
            permits_rejected: meter.u64_counter("outbound_connection_permits_rejected").build(),
            permit_wait: meter.f64_histogram("outbound_connection_permit_wait_duration_ms").build(),
            permits_of_kind_used: share("outbound_connection_factor_utilization"),
            permits_used: share("outbound_connection_global_utilization"),
            inferences: meter.u64_counter("spin.llm_infer").build(),
        }
    }
}

fn instruments() -> Option<&'static Instruments> {
    otlp::state()?.metrics.as_ref().map(|metrics| &metrics.instruments)
}

/// A component is called: `spin.request_count`.
pub fn request(trigger_type: &'static str, app: &str, component: &str) {
    let Some(instruments) = instruments() else { return };
    let attributes = [
        KeyValue::new("trigger_type", trigger_type),
        KeyValue::new("app_id", app.to_owned()),
        KeyValue::new("component_id", component.to_owned()),
    ];
    instruments.requests.add(1, &attributes);
}

/// A call is over: `spin.component_cpu_time`, in seconds. The unit is an attribute, as it is Spin's.
pub fn cpu_time(component: &str, time: Duration) {
    let Some(instruments) = instruments() else { return };
    instruments.cpu_time.record(time.as_secs_f64(), &measured(component, "s"));
}

/// An instance is over: the bytes of its linear memories after it was instantiated, and in the end.
pub fn memory(component: &str, on_init: u64, used: u64) {
    let Some(instruments) = instruments() else { return };
    let attributes = measured(component, "By");
    instruments.memory_on_init.record(on_init, &attributes);
    instruments.memory.record(used, &attributes);
}

fn measured(component: &str, unit: &'static str) -> [KeyValue; 2] {
    [KeyValue::new("component_id", component.to_owned()), KeyValue::new("unit", unit)]
}

/// A guest has the right to an outgoing connection, after it `waited` for it, if it had to. What is used are the
/// shares of those of this kind, and of all, that its app may have, where there is a limit.
pub fn permit(
    kind: &'static str,
    waited: Option<Duration>,
    used_of_kind: Option<f64>,
    used: Option<f64>,
) {
    let Some(instruments) = instruments() else { return };
    let kind = KeyValue::new("kind", kind);
    instruments.permits.add(1, &[kind.clone(), KeyValue::new("waited", waited.is_some())]);
    if let Some(waited) = waited {
        instruments.permit_wait.record(waited.as_secs_f64() * 1e3, std::slice::from_ref(&kind));
    }
    if let Some(used) = used_of_kind {
        instruments.permits_of_kind_used.record(used, &[kind]);
    }
    if let Some(used) = used {
        instruments.permits_used.record(used, &[]);
    }
}

/// A guest was refused an outgoing connection, since its app has as many as it may have, of this kind or of all.
pub fn permit_rejected(kind: &'static str, is_of_all: bool) {
    let Some(instruments) = instruments() else { return };
    let attributes = [
        KeyValue::new("kind", kind),
        KeyValue::new("limit", if is_of_all { "global" } else { "factor" }),
    ];
    instruments.permits_rejected.add(1, &attributes);
}

/// A model is asked: `spin.llm_infer`.
pub fn inference(model: &str) {
    let Some(instruments) = instruments() else { return };
    instruments.inferences.add(1, &[KeyValue::new("model_name", model.to_owned())]);
}

/// Whether anything is measured.
pub fn is_on() -> bool {
    instruments().is_some()
}
