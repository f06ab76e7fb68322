//! What a bench is measured in: the processor time of its thread. Where others use the machine too, time on
//! the wall counts what they take.

use criterion::{
    BenchmarkGroup,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

pub type Criterion = criterion::Criterion<CpuTime>;
pub type Group<'a> = BenchmarkGroup<'a, CpuTime>;

/// Processor time of the calling thread. Nothing measured here sleeps, or works on another thread.
pub struct CpuTime;

impl CpuTime {
    /// Since the thread began.
    pub fn now() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Self::now()
    }

    fn end(&self, start: Duration) -> Duration {
        Self::now() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
