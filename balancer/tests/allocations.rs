//! What a worker does for each request allocates nothing.

#![allow(unsafe_code, reason = "an allocator that counts must be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use corelane_balancer::health::{Outcome, Outlier, OutlierRules};
use corelane_balancer::{
    Ask, Breaker, BreakerRules, BudgetRules, CookieKey, Group, GroupRules, Member, PeakEwma, Picker, Policy,
    RetryBudget, Share, Tripper, mix,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; only a number of this thread is changed.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same, and the pointer came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[track_caller]
fn assert_allocates_nothing(what: impl FnOnce()) {
    let before = ALLOCATIONS.get();
    what();
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

#[test]
fn choosing() {
    for policy in Policy::ALL {
        let member = |name: u64| Member { name, weight: 1 + u32::from(name.is_multiple_of(3)), priority: 0 };
        let members: Vec<_> = (0..50).map(member).chain([Member { priority: 1, ..member(50) }]).collect();
        let group = Group::new(GroupRules { policy, ..GroupRules::default() }, &members);
        let mut picker = Picker::new(&group, 3);
        assert_allocates_nothing(|| {
            for number in 0..2_000_u64 {
                // Now and then only a few are available, or none.
                let _ = picker.admit(|endpoint| {
                    if endpoint as u64 % 50 <= number % 60 { Share::NONE } else { Share::new(100) }
                });
                let ask = Ask { excluded: &[51, 7], key: Some(number), random: mix(number) };
                let _ = black_box(picker.pick(&ask, &|endpoint: usize| endpoint as u64));
            }
        });
    }
}

#[test]
fn judging_what_came_of_it() {
    let key = CookieKey::new(b"secret", "shop");
    assert_allocates_nothing(|| {
        let (mut latency, mut outlier) = (PeakEwma::default(), Outlier::default());
        let (mut budget, mut breaker) = (RetryBudget::default(), Breaker::default());
        let mut tripper = Tripper::default();
        for now_ms in 0..2_000 {
            let outcome = if now_ms % 3 == 0 { Outcome::Failure } else { Outcome::Success };
            latency.observe(now_ms, 10_000, now_ms);
            outlier.record(&OutlierRules::default(), outcome, now_ms);
            budget.request(&BudgetRules::default(), now_ms);
            black_box(budget.try_retry(&BudgetRules::default(), now_ms));
            let rules = BreakerRules::default();
            if let Ok((entered, passage)) = breaker.enter(&rules, now_ms) {
                tripper.record(entered, passage, &rules, outcome, now_ms);
                breaker = entered.leave(passage, &rules, outcome, now_ms).trip(passage, &rules, now_ms);
            }
            let text = key.sign(key.token(now_ms), now_ms + 1);
            assert!(key.verify(&text, now_ms).is_ok());
        }
    });
}
