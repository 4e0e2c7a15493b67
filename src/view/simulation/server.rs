//! The model server: who sees which record, what it sends, and what it lists.

use super::*;

impl World {
    pub(super) fn sees(&self, user: u8, record: &Value) -> bool {
        let who = record["who"].as_u64().unwrap_or_default();
        (who == 0 || who == u64::from(user)) && record["n"].as_i64() != Some(self.hides)
    }

    /// A record has fields that only its users see, as an email address or what a relation expands to.
    pub(super) fn body(user: u8, record: &Value) -> Value {
        let mut body = record.clone();
        body["for"] = json!(user);
        body
    }

    pub(super) fn matches(&self, record: &Value) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.evaluate(record, self.wall) == Answer::In)
    }

    pub(super) fn write(&mut self) {
        self.note_time();
        let fresh = format!("r{:02}", self.rng.u32(0..40));
        let ids: Vec<String> = self.records.keys().cloned().collect();
        let id = if ids.is_empty() || self.rng.u8(0..4) == 0 {
            fresh
        } else {
            ids[self.rng.usize(0..ids.len())].clone()
        };
        let before = self.records.get(&id).cloned();
        if let Some(before) = before.clone()
            && self.rng.u8(0..5) == 0
        {
            self.records.remove(&id);
            self.tell(|| format!("deletes {before}"));
            return self.publish(&before, true);
        }
        let mut record =
            before.unwrap_or_else(|| json!({"id": id, "who": self.rng.u8(0..4).saturating_sub(1)}));
        let texts = ["", "a", "b", "Ab"];
        match self.rng.u8(0..if self.setup.has_clock() { 5 } else { 3 }) {
            0 => record["open"] = json!(self.rng.bool()),
            1 => record["s"] = json!(texts[self.rng.usize(0..4)]),
            2 => record["n"] = json!(self.rng.i64(0..9)),
            _ => {
                let day = 86_400_000 * [0, 0, 1, 2][self.rng.usize(0..4)];
                record["due"] = json!(stamp(self.wall - 86_400_000 + day + self.rng.u64(0..4_000)));
            }
        }
        for (field, value) in [("n", json!(0)), ("s", json!("")), ("open", json!(true)), ("due", json!(""))] {
            if record[field].is_null() {
                record[field] = value;
            }
        }
        if self.setup.is_versioned {
            record["updated"] = json!(stamp(self.wall / self.setup.tick * self.setup.tick));
        }
        self.records.insert(id, record.clone());
        self.tell(|| format!("writes {record}"));
        self.publish(&record, false);
    }

    pub(super) fn publish(&mut self, record: &Value, is_delete: bool) {
        self.note(record);
        let user = self.who.seen_as();
        if !self.live || !self.sees(user, record) {
            return;
        }
        let thin = json!({"id": record["id"], "updated": record["updated"]});
        let is_server = self.setup.server_decides && self.filter.is_some();
        let mut messages = Vec::new();
        match is_server {
            false => messages.push((Role::All, Self::body(user, record))),
            true => {
                messages.push((Role::Thin, thin));
                if self.matches(record) {
                    messages.push((Role::Filtered, Self::body(user, record)));
                }
            }
        }
        for (role, record) in messages {
            // Handing over repeats none, but a cut hand-over may; and nothing is in order.
            let copies = if self.setup.is_calm || self.rng.u8(0..20) > 0 { 1 } else { 2 };
            for _ in 0..copies {
                let delay = if self.rng.bool() { self.rng.u64(1..5) } else { self.rng.u64(1..20) };
                self.flight.push((self.time + delay, Message { role, is_delete, record: record.clone() }));
            }
        }
    }

    /// What users may have been shown.
    pub(super) fn note(&mut self, record: &Value) {
        for user in 0..3 {
            let id = record["id"].as_str().unwrap().to_owned();
            let now = self.records.get(&id).cloned();
            let is_listed = now.as_ref().is_some_and(|now| self.sees(user, now) && self.matches(now));
            match now {
                // It may be listed in a moment.
                Some(now) if is_listed || self.setup.has_clock() && self.sees(user, &now) => {
                    self.history.insert((user, Self::body(user, &now).to_string()));
                    if !is_listed {
                        self.outs.insert((user, id), self.time);
                    }
                }
                Some(now) if is_listed => _ = self.history.insert((user, Self::body(user, &now).to_string())),
                _ => _ = self.outs.insert((user, id), self.time),
            }
        }
    }

    pub(super) fn list(&self, user: u8, query: &[(&'static str, String)]) -> Vec<Value> {
        let given = |name: &str| query.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        let filter = given("filter").map(|text| {
            let mut filter =
                Filter::parse(text, Dialect::New).unwrap_or_else(|error| panic!("{text}: {error}"));
            filter.know(&self.schema);
            filter
        });
        let found = self.records.values().filter(|record| self.sees(user, record));
        let found = found.filter(|record| {
            let answer = filter.as_ref().map_or(Answer::In, |filter| filter.evaluate(*record, self.wall));
            assert_ne!(answer, Answer::Unknown, "{:?} {record}", given("filter"));
            answer == Answer::In
        });
        let mut rows: Vec<Row> =
            found.filter_map(|record| Row::new(&Self::body(user, record), &self.order)).collect();
        rows.sort_by(|a, b| self.order.compare(a, b));
        if given("sort") == Some("due") {
            rows.sort_by_key(|row| row.json()["due"].as_str().unwrap_or_default().to_owned());
        }
        let count: usize = given("perPage").unwrap().parse().unwrap();
        let fields: Option<Vec<&str>> = given("fields").map(|fields| fields.split(',').collect());
        let trimmed = |row: &Row| {
            let mut record = row.json();
            if let (Some(fields), Value::Object(map)) = (&fields, &mut record) {
                map.retain(|name, _| fields.contains(&name.as_str()));
            }
            record
        };
        rows.iter().take(count).map(trimmed).collect()
    }

    pub(super) fn truth(&self) -> Vec<Row> {
        let mut query = vec![("perPage", self.setup.limit.unwrap_or(1_000).to_string())];
        if !self.setup.filter.is_empty() {
            query.push(("filter", self.setup.filter.to_owned()));
        }
        self.list(self.who.user, &query).iter().filter_map(|record| Row::new(record, &self.order)).collect()
    }
}
