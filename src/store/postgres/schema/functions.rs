//! Functions of the schema. Each migration replaces them all.

pub(super) const FUNCTIONS: &str = "
do $$
declare
    it regprocedure;
begin
    for it in select p.oid from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'mailstamp' loop
        execute format('drop function %s', it);
    end loop;
end $$;

-- Spends stamps, each at most once in a call. The lock comes first, in a statement of its own: the statements after it
-- see each purge mark that was raised before. A stamp is inserted if it is unknown, no purge mark covers it, and its
-- status is the one that the caller has seen. What is known afterwards comes back, in the order of the stamps.
--
-- Where a stamp has a counter, it is inserted only while that is below the limit, and counts. `uses` is what the counter
-- was before. A counter is a row of `used`. Stamps with one are inserted after the others and one by one, in the order of
-- their counters, each of which is locked first: two sessions that count the same wait for each other.
create function mailstamp.spend(
    of_space int, stamps bytea[], hours bigint[], messages bytea[], owners bytea[], seen bigint[], standings text[],
    inserts boolean[], counters bytea[], counter_hours bigint[], caps smallint[], no_message bytea
) returns table (
    fresh boolean, message bytea, owner bytea, first_seen bigint, times smallint, standing text, uses smallint,
    mark bigint, epoch bigint, wal_position text, tables oid
) language plpgsql volatile as $$
#variable_conflict use_column
declare
    its_mark bigint;
    its_epoch bigint;
    its_tables oid;
    added bytea[];
    counted smallint[];
    its_uses smallint;
    i int;
begin
    perform pg_advisory_xact_lock_shared(SPENDS, of_space);
    select s.mark, s.epoch, s.tableoid into strict its_mark, its_epoch, its_tables from mailstamp.space s where s.id = of_space;
    with new as (
        insert into mailstamp.used (space, stamp, hour, first_seen, times, message, owner)
        select of_space, t.stamp, t.hour, t.seen, 0, t.message, t.owner
        from unnest(stamps, hours, messages, owners, seen, standings, inserts, counters)
            as t (stamp, hour, message, owner, seen, standing, inserted, counter)
        where t.inserted and t.counter is null and (its_mark is null or t.hour > its_mark)
            and t.standing is not distinct from (
                select s.standing from mailstamp.standing s where s.space = of_space and s.stamp = t.stamp
            )
        order by t.stamp
        on conflict do nothing
        returning stamp
    )
    select coalesce(array_agg(new.stamp), '{}') into added from new;
    counted := array_fill(null::smallint, array[coalesce(array_length(stamps, 1), 0)]);
    for i in
        select t.place from unnest(counters, stamps) with ordinality as t (counter, stamp, place)
        where t.counter is not null order by t.counter, t.stamp
    loop
        if inserts[i] and caps[i] > 0 then
            insert into mailstamp.used (space, stamp, hour, first_seen, times, message)
            values (of_space, counters[i], counter_hours[i], seen[i], 0, no_message) on conflict do nothing;
        end if;
        select u.times into its_uses from mailstamp.used u where u.space = of_space and u.stamp = counters[i] for update;
        counted[i] := coalesce(its_uses, 0);
        if inserts[i] and counted[i] < caps[i] and (its_mark is null or hours[i] > its_mark)
            and standings[i] is not distinct from (
                select s.standing from mailstamp.standing s where s.space = of_space and s.stamp = stamps[i]
            )
        then
            insert into mailstamp.used (space, stamp, hour, first_seen, times, message, owner)
            values (of_space, stamps[i], hours[i], seen[i], 0, messages[i], owners[i]) on conflict do nothing;
            if found then
                added := array_append(added, stamps[i]);
                update mailstamp.used u set times = counted[i] + 1 where u.space = of_space and u.stamp = counters[i];
            end if;
        end if;
    end loop;
    return query
        select coalesce(t.stamp = any (added), false), u.message, u.owner, u.first_seen, u.times, s.standing, t.uses,
            its_mark, its_epoch, pg_current_wal_insert_lsn()::text, its_tables
        from unnest(stamps, counted) with ordinality as t (stamp, uses, place)
        left join mailstamp.used u on u.space = of_space and u.stamp = t.stamp
        left join mailstamp.standing s on s.space = of_space and s.stamp = t.stamp
        order by t.place;
end $$;

-- Sets the count of redeliveries where the row is still as it was read; returns the stamps for which it was.
create function mailstamp.renew(
    of_space int, stamps bytea[], messages bytea[], seen bigint[], olds smallint[], news smallint[]
) returns setof bytea language plpgsql volatile as $$
begin
    for i in 1 .. coalesce(array_length(stamps, 1), 0) loop
        update mailstamp.used u set times = news[i]
        where u.space = of_space and u.stamp = stamps[i] and u.message = messages[i] and u.first_seen = seen[i]
            and u.times = olds[i];
        if found then
            return next stamps[i];
        end if;
    end loop;
end $$;

-- The same for statuses. NULL is no row.
create function mailstamp.stand(
    of_space int, stamps bytea[], vendors text[], serials text[], olds text[], news text[]
) returns setof bytea language plpgsql volatile as $$
begin
    for i in 1 .. coalesce(array_length(stamps, 1), 0) loop
        if olds[i] is null then
            insert into mailstamp.standing (space, stamp, vendor, serial, standing)
            values (of_space, stamps[i], vendors[i], serials[i], news[i])
            on conflict do nothing;
        elsif news[i] is null then
            delete from mailstamp.standing s
            where s.space = of_space and s.stamp = stamps[i] and s.standing = olds[i];
        else
            update mailstamp.standing s set standing = news[i]
            where s.space = of_space and s.stamp = stamps[i] and s.standing = olds[i];
        end if;
        if found then
            return next stamps[i];
        end if;
    end loop;
end $$;

-- Raises the purge mark; returns whether it changed. No spend runs meanwhile, and the next one sees it. The exclusive
-- lock is held for one row. What is not durable does not wait for the disk: the WAL has the mark before the removal of
-- any row that it covers, so a crash never keeps the removal without the mark.
create function mailstamp.raise_mark(of_space int, bucket bigint, durable boolean) returns boolean
language plpgsql volatile as $$
begin
    perform pg_advisory_xact_lock(PURGES, of_space);
    if exists (select from mailstamp.space s where s.id = of_space and s.mark >= bucket) then
        return false;
    end if;
    if not durable then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    perform pg_advisory_xact_lock(SPENDS, of_space);
    update mailstamp.space s set mark = bucket, epoch = s.epoch + 1
    where s.id = of_space and (s.mark is null or s.mark < bucket);
    return found;
end $$;

-- Removes up to `most` rows that the purge mark covers, oldest first.
create function mailstamp.remove_ended(of_space int, bucket bigint, most bigint) returns bigint
language plpgsql volatile as $$
declare
    removed bigint;
begin
    perform pg_advisory_xact_lock(PURGES, of_space);
    delete from mailstamp.used u
    using (
        select o.stamp from mailstamp.used o
        where o.space = of_space and o.hour <= (
            select least(s.mark, bucket) from mailstamp.space s where s.id = of_space
        )
        order by o.hour, o.stamp limit most
    ) ended
    where u.space = of_space and u.stamp = ended.stamp;
    get diagnostics removed = row_count;
    return removed;
end $$;

-- Sets the purge mark back if it is the one that the caller has seen; returns whether it was.
create function mailstamp.lift_mark(of_space int, old bigint, new bigint) returns boolean
language plpgsql volatile as $$
begin
    perform pg_advisory_xact_lock(PURGES, of_space);
    perform pg_advisory_xact_lock(SPENDS, of_space);
    update mailstamp.space s set mark = new, epoch = s.epoch + 1 where s.id = of_space and s.mark = old;
    return found;
end $$;

-- Waits until no other transaction changes contacts and replies of the space.
create function mailstamp.lock_correspondence(of_space int) returns void language sql volatile as $$
    select pg_advisory_xact_lock(CORRESPONDENCE, of_space)
$$;
";
