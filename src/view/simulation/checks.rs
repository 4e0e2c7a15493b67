//! The invariants of `machine.rs`, by their numbers there, each with the check that holds it.

use super::*;

impl World {
    /// V1 and V5.
    pub(super) fn check_folding(&mut self, deltas: &[Delta]) {
        let before: HashMap<String, Row> =
            self.folded.iter().map(|row| (row.id().to_owned(), row.clone())).collect();
        let mut touched = HashSet::new();
        for delta in deltas {
            let is_change = match delta {
                Delta::Insert { row, .. } => touched.insert(row.id()) && !before.contains_key(row.id()),
                Delta::Remove { row, .. } => touched.insert(row.id()) && before.get(row.id()) == Some(row),
                Delta::Update { row, old, .. } => {
                    touched.insert(row.id()) && row != old && before.get(row.id()) == Some(old)
                }
                Delta::Reset { .. } => deltas.len() == 1,
            };
            assert!(is_change, "V5: seed {}: {delta:?}", self.seed);
            delta.apply_to(&mut self.folded);
        }
        assert!(self.folded.iter().eq(self.rows.iter()), "V1: seed {}", self.seed);
    }

    pub(super) fn check_first(&self) {
        assert!(!self.is_first || self.rows.is_empty(), "V2: seed {}", self.seed);
    }

    pub(super) fn check_between(&self) {
        assert!(!self.in_gap, "V9: seed {}: shown before the gap was closed", self.seed);
    }

    /// What time has taken out of the filter.
    pub(super) fn note_time(&mut self) {
        if self.setup.has_clock() {
            let out = self.records.values().filter(|record| !self.matches(record));
            let out: Vec<String> =
                out.filter_map(|record| record["id"].as_str().map(str::to_owned)).collect();
            for (user, id) in (0..3).flat_map(|user| out.iter().map(move |id| (user, id))) {
                self.outs.insert((user, id.clone()), self.time);
            }
        }
    }

    /// What time brings in is there soon after: not by an audit, which comes minutes later.
    pub(super) fn check_late(&mut self) {
        if !self.setup.is_calm || !self.setup.has_clock() || self.setup.limit.is_some() || self.is_first {
            return;
        }
        let there: HashSet<&str> = self.rows.iter().map(Row::id).collect();
        let missing = self.records.values().filter(|record| self.sees(1, record) && self.matches(record));
        let missing = missing.filter_map(|record| record["id"].as_str()).filter(|id| !there.contains(id));
        let since = missing.map(|id| (id.to_owned(), *self.missing.get(id).unwrap_or(&self.time))).collect();
        self.missing = since;
        for (id, since) in &self.missing {
            assert!(self.time - since < 150, "V3: seed {}: {id} is late", self.seed);
        }
    }

    /// V6, V7, and of V4 that each row was once true.
    pub(super) fn check_identity(&mut self, rows: &Rows) {
        self.note_time();
        let user = self.who.user;
        let mut there = HashSet::new();
        for row in rows.iter() {
            there.insert(row.id());
            // Once its token has expired, a user is sent what guests see, and is not told.
            let is_known =
                [user, 0].iter().any(|whose| self.history.contains(&(*whose, row.text().to_owned())));
            assert!(is_known, "V6, V4: seed {}: {}", self.seed, row.text());
            self.shown_at.entry(row.id().to_owned()).or_insert(self.time);
        }
        if self.setup.limit.is_none() {
            for row in self.rows.iter().filter(|row| !there.contains(row.id())) {
                let since = self.shown_at.get(row.id()).copied().unwrap_or_default().saturating_sub(200);
                let out = self.outs.get(&(user, row.id().to_owned()));
                // What the view knew of it left by the clock, and what it does not know yet did not.
                let timed_out = self.setup.has_clock() && !self.matches(&row.json());
                let never = timed_out || !self.history.contains(&(user, row.text().to_owned()));
                assert!(
                    never || out.is_some_and(|at| *at >= since),
                    "V7: seed {}: {}",
                    self.seed,
                    row.text()
                );
            }
        }
        self.shown_at.retain(|id, _| there.contains(id.as_str()));
    }

    /// V6, before anything is shown: the first list for another user is one of whole records. Versions alone would let the
    /// bodies stay that the one before has seen.
    pub(super) fn check_another(&mut self, wanted: &Wanted) {
        if let Wanted::List { query } = wanted
            && query.iter().any(|(name, _)| *name == "sort")
        {
            let is_thin = query.iter().any(|(name, _)| *name == "fields");
            assert!(!(is_thin && self.is_another), "V6: seed {}: {wanted:?}", self.seed);
            self.is_another = false;
        }
    }

    pub(super) fn check_memory(&self) {
        let (kept, under_way, books) = self.machine.size();
        let most = self.setup.limit.map_or(40, |limit| limit + self.setup.slack);
        let is_bounded = kept <= most && under_way <= most + 2_048 && books < 100_000;
        assert!(is_bounded, "V8: seed {}: {kept} {under_way} {books}", self.seed);
        assert!(self.setup.limit.is_none_or(|limit| self.rows.len() <= limit), "V8: seed {}", self.seed);
    }

    /// V3, and of V4 that nothing stays that is gone.
    pub(super) fn check_rest(&mut self) {
        if !self.live {
            self.connect();
        }
        if !self.who.is_taken {
            self.who.is_taken = true;
            self.machine.new_token();
            self.cut();
            self.connect();
        }
        // A message may bring what a rule hides by the time it arrives.
        self.pass(50);
        // A change that is not told as such, such as that of a rule, is found by a list alone.
        if !self.setup.is_calm {
            self.ticket += 1;
            self.machine.prove(self.ticket);
        }
        for _ in 0..200 {
            self.pass(50);
        }
        assert!(self.setup.is_calm || self.proved == self.ticket, "V3: seed {}: no proof", self.seed);
        if !self.setup.is_calm && self.setup.has_clock() {
            // A server that refused to look ahead is asked every ten seconds.
            self.ticket += 1;
            self.machine.prove(self.ticket);
            self.pass(100);
        }
        self.take();
        let truth = self.truth();
        let text = |rows: &[Row]| rows.iter().map(Row::text).collect::<Vec<_>>().join("\n");
        let rows: Vec<Row> = self.rows.iter().cloned().collect();
        assert!(
            rows == truth,
            "V3: seed {}: {:?}\n{}\nbut\n{}",
            self.seed,
            self.setup,
            text(&rows),
            text(&truth)
        );
    }
}
