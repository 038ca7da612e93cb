-- What calls a revision's components: the types of its triggers, JSON. Before this there were no others than HTTP's.

ALTER TABLE revisions ADD COLUMN triggers TEXT NOT NULL DEFAULT '["http"]';
