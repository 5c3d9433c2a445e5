// SQLite, in memory: rows inserted in a transaction, an index, joins, aggregates, ordering, updates, text search by LIKE.
#include "bench.h"
#include <sqlite3.h>

static sqlite3 *db;

static int row(void *unused, int columns, char **values, char **names) {
    (void)unused, (void)names;
    for (int i = 0; i < columns; i++)
        if (values[i]) sum_bytes(values[i], strlen(values[i]));
    return 0;
}

static void run(const char *sql) {
    char *message = NULL;
    if (sqlite3_exec(db, sql, row, NULL, &message) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, message);
        exit(1);
    }
}

static void insert(int rows) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, "INSERT INTO orders VALUES (?, ?, ?, ?, ?)", -1, &statement, NULL) != SQLITE_OK) exit(1);
    for (int i = 0; i < rows; i++) {
        char note[64];
        int length = snprintf(note, sizeof note, "order %d for %u, box %u", i, random_u32() % 5000, random_u32());
        sqlite3_bind_int(statement, 1, i);
        sqlite3_bind_int(statement, 2, (int)(random_u32() % 1000));
        sqlite3_bind_int(statement, 3, (int)(random_u32() % 50));
        sqlite3_bind_double(statement, 4, random_u32() % 100000 / 100.0);
        sqlite3_bind_text(statement, 5, note, length, SQLITE_TRANSIENT);
        if (sqlite3_step(statement) != SQLITE_DONE) exit(1);
        sqlite3_reset(statement);
    }
    sqlite3_finalize(statement);
}

int main(int argc, char **argv) {
    int n = amount(argc, argv);
    if (sqlite3_open(":memory:", &db) != SQLITE_OK) return 1;
    run("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city INTEGER);"
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, product INTEGER, price REAL, note TEXT);");
    run("WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < 999)"
        "INSERT INTO customers SELECT x, 'customer ' || (x * 7919 % 1000), x * 31 % 40 FROM c;");
    for (int i = 0; i < n; i++) {
        run("DROP INDEX IF EXISTS by_customer; DELETE FROM orders; BEGIN;");
        insert(20000);
        run("COMMIT; CREATE INDEX by_customer ON orders (customer, product);");
        run("SELECT city, count(*), round(sum(price), 2), max(note) FROM orders JOIN customers ON customer = customers.id"
            " GROUP BY city ORDER BY 3 DESC LIMIT 10;");
        run("SELECT product, avg(price) FROM orders WHERE customer BETWEEN 100 AND 600 GROUP BY product HAVING count(*) > 10;");
        run("SELECT count(*) FROM orders WHERE note LIKE '%7 for 1%box%9';");
        run("UPDATE orders SET price = price * 1.1 WHERE product % 3 = 1;");
        run("SELECT name, (SELECT max(price) FROM orders WHERE customer = customers.id) FROM customers WHERE city = 7 ORDER BY name;");
        run("SELECT substr(note, 1, 12), price FROM orders ORDER BY price DESC, id LIMIT 50;");
        run("SELECT count(DISTINCT customer * 50 + product) FROM orders;");
    }
    sqlite3_close(db);
    return print_sum();
}
