"""Stack traces as runtimes print them, with what must be read from them."""

from __future__ import annotations

from typing import Final, NamedTuple

from processors.error_type.stacks import Language


class Trace(NamedTuple):
    """A printed stack, its exceptions (the outermost first) and the identities of the application's frames in each."""

    name: str
    language: Language
    text: str
    types: tuple[str, ...]
    messages: tuple[str, ...]
    own: tuple[tuple[str, ...], ...]


PYTHON_CHAIN = """\
Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/urllib3/connectionpool.py", line 534, in _make_request
    response = conn.getresponse()
               ^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.11/socket.py", line 718, in readinto
    return self._sock.recv_into(b)
           ^^^^^^^^^^^^^^^^^^^^^^^
TimeoutError: timed out

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/shop/payments/client.py", line 31, in post
    return self._session.post(url)
urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='pay.example', port=443): Read timed out.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/celery/app/trace.py", line 564, in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/srv/shop/payments/tasks.py", line 61, in run
    receipt = client.post(order)
              ^^^^^^^^^^^^^^^^^^
  File "/srv/shop/payments/client.py", line 38, in post
    raise PaymentFailed(order) from error
payments.errors.PaymentFailed: order 77123
of customer 9
"""

PYTHON_GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/srv/shop/sync.py", line 9, in sync_all
  |     async with asyncio.TaskGroup() as group:
  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/shop/sync.py", line 21, in pull
    |     raise ValueError(page)
    | ValueError: 3
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "/srv/shop/sync.py", line 30, in push
    |     raise TypeError(page)
    | TypeError: 4
    +------------------------------------
"""

RUBY_33 = """\
/srv/mailer/app/mail_client.rb:24:in `block (2 levels) in deliver': 429 Too Many Requests (MailClient::RateLimited)
\tfrom /srv/bundle/ruby/3.3.0/gems/faraday-2.9.0/lib/faraday/connection.rb:300:in `run_request'
\tfrom <internal:kernel>:187:in `loop'
\tfrom /srv/mailer/app/jobs/welcome.rb:12:in `perform'
\tfrom /usr/lib/ruby/3.3.0/timeout.rb:107:in `timeout'
/srv/mailer/app/http.rb:9:in `post': end of file reached (EOFError)
\tfrom /srv/mailer/app/mail_client.rb:20:in `deliver'
"""

RUBY_34 = """\
/srv/mailer/app/mail_client.rb:25:in 'block (2 levels) in MailClient#deliver': 429 (MailClient::RateLimited)
\tfrom /srv/bundle/ruby/3.4.0/gems/faraday-2.12.0/lib/faraday/connection.rb:301:in 'Faraday::Connection#run_request'
\tfrom <internal:kernel>:168:in 'Kernel#loop'
\tfrom /srv/mailer/app/jobs/welcome.rb:13:in 'WelcomeJob#perform'
"""

RUBY_SNIPPET = """\
/srv/shop/aj_jobs.rb:41:in `perform': undefined method `upcase' for nil:NilClass (NoMethodError)

  def perform(id) = (note('failure', error: 'NoMethodError'); nil.upcase)
                                                                 ^^^^^^^
\tfrom /usr/share/rubygems-integration/all/gems/activejob-6.1.7.10/lib/active_job/execution.rb:48:in `perform_now'
"""

NODE_CAUSE = """\
Error: could not store a.jpg
    at Store.put (/srv/media/dist/store.js:33:11)
    at async Worker.processJob (/srv/media/node_modules/bullmq/dist/cjs/classes/worker.js:512:28)
    at async /srv/media/dist/workers.js:22:5
    at new Promise (<anonymous>)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5) {
  [cause]: AggregateError [ECONNRESET]: read ECONNRESET
      at TLSWrap.onStreamRead (node:internal/stream_base_commons:216:20)
      at Object.<anonymous> (file:///srv/media/dist/net.3f2a9c1b.js:4:9) {
    errno: -104
  }
}
"""

JAVA = """\
com.acme.billing.InvoiceException: invoice 4711 failed
\tat com.acme.billing.InvoiceJob.lambda$execute$3(InvoiceJob.java:42)
\tat com.acme.billing.InvoiceJob$$Lambda$214/0x00000008003a1040.run(Unknown Source)
\tat java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java:1136)
\tat app//com.acme.Main$1.run(Main.java:7)
\tSuppressed: java.lang.IllegalStateException: close
\t\tat com.acme.billing.Ledger.close(Ledger.java:99)
Caused by: java.net.SocketTimeoutException: Read timed out
\tat java.base/sun.nio.ch.NioSocketImpl.timedRead(NioSocketImpl.java:288)
\tat com.acme.billing.PdfClient.render(PdfClient.kt:17)
\t... 12 more
"""

GO_PANIC = """\
panic: runtime error: index out of range [5] with length 3

goroutine 18 [running]:
runtime/debug.Stack()
\t/usr/local/go/src/runtime/debug/stack.go:24 +0x5e
main.(*Worker).Run.func1()
\t/src/worker.go:31 +0x4b
panic({0x5a3c40?, 0xc00001a0f0?})
\t/usr/local/go/src/runtime/panic.go:884 +0x212
github.com/acme/shop/orders.(*Service).Charge(0xc0000a6000, {0xc0000b2000, 0x5})
\t/src/orders/service.go:112 +0x1d4
github.com/riverqueue/river/internal.(*executor).Execute.func2({0x6f2b10, 0xc000})
\t/go/pkg/mod/github.com/riverqueue/river@v0.11.4/executor.go:203 +0x9c
main.main.func1.2()
\t/src/main.go:55 +0x2f
created by main.main in goroutine 1
\t/src/main.go:50 +0x1a5

goroutine 1 [chan receive]:
main.other()
\t/src/other.go:5 +0x1
"""

DOTNET = """\
Shop.Jobs.InvoiceException: invoice 9 failed
 ---> System.TimeoutException: The operation has timed out.
   at Shop.Pdf.Client.<RenderAsync>d__12.MoveNext() in /src/Shop.Pdf/Client.cs:line 58
   at System.Threading.Tasks.Task.ThrowAsync(Exception e)
   --- End of inner exception stack trace ---
   at Shop.Jobs.InvoiceService.<>c__DisplayClass3_0.<Render>b__0(Int32 id) in C:\\src\\Jobs\\Invoices.cs:line 7
   at Shop.Jobs.Repository`1.Find[T](Int32 id)
--- End of stack trace from previous location ---
   at Hangfire.Server.CoreBackgroundJobPerformer.InvokeMethod(PerformContext context, Object instance, Object[] args)
"""

ELIXIR = """\
** (MyApp.Mailer.SMTPError) connection refused
    (my_app 1.0.0) lib/my_app/workers/mailer.ex:31: anonymous fn/2 in MyApp.Workers.Mailer.perform/1
    (elixir 1.15.7) lib/enum.ex:984: Enum."-each/2-lists^foreach/1-0-"/2
    (oban 2.18.3) lib/oban/queue/executor.ex:145: Oban.Queue.Executor.perform/1
    (stdlib 5.0.2) proc_lib.erl:241: :proc_lib.init_p_do_apply/3
"""

PHP = """\
Illuminate\\Http\\Client\\ConnectionException: cURL error 28
 at Http\\Client\\PendingRequest->send(PendingRequest.php:918)
 at App\\Jobs\\SyncCrm->handle(SyncCrm.php:44)
Caused by: GuzzleHttp\\Exception\\ConnectException: timed out
 at App\\Crm\\Api->post(Api.php:12)
"""

PHP_NUMBERED = """\
#0 /app/vendor/laravel/framework/src/Illuminate/Bus/Dispatcher.php(98): Illuminate\\Bus\\Dispatcher->dispatch()
#1 /app/app/Jobs/SyncCrm.php(44): App\\Jobs\\SyncCrm->handle(Array)
#2 {main}
"""

TRACES: Final = (
    Trace(
        "python with causes",
        Language.PYTHON,
        PYTHON_CHAIN,
        ("payments.errors.PaymentFailed", "urllib3.exceptions.ReadTimeoutError", "TimeoutError"),
        ("order 77123", "HTTPSConnectionPool(host='pay.example', port=443): Read timed out.", "timed out"),
        (("payments/client.py:post", "payments/tasks.py:run"), ("payments/client.py:post",), ()),
    ),
    Trace(
        "python exception group",
        Language.PYTHON,
        PYTHON_GROUP,
        ("ExceptionGroup", "ValueError"),
        ("unhandled errors in a TaskGroup (2 sub-exceptions)", "3"),
        (("shop/sync.py:sync_all",), ("shop/sync.py:pull",)),
    ),
    Trace(
        "ruby with a cause",
        Language.RUBY,
        RUBY_33,
        ("MailClient::RateLimited", "EOFError"),
        ("429 Too Many Requests", "end of file reached"),
        (("app/mail_client.rb:deliver", "jobs/welcome.rb:perform"), ("app/http.rb:post", "app/mail_client.rb:deliver")),
    ),
    Trace(
        "ruby 3.4",
        Language.RUBY,
        RUBY_34,
        ("MailClient::RateLimited",),
        ("429",),
        (("app/mail_client.rb:deliver", "jobs/welcome.rb:perform"),),
    ),
    Trace(
        "ruby with a source snippet",
        Language.RUBY,
        RUBY_SNIPPET,
        ("NoMethodError",),
        ("undefined method `upcase' for nil:NilClass",),
        (("shop/aj_jobs.rb:perform",),),
    ),
    Trace(
        "node with a cause",
        Language.NODE,
        NODE_CAUSE,
        ("Error", "AggregateError"),
        ("could not store a.jpg", "read ECONNRESET"),
        (("dist/store.js:Store.put", "dist/workers.js:"), ("dist/net.#.js:Object.<anonymous>",)),
    ),
    Trace(
        "java with a cause",
        Language.JVM,
        JAVA,
        ("com.acme.billing.InvoiceException", "java.net.SocketTimeoutException"),
        ("invoice 4711 failed", "Read timed out"),
        (
            (
                "com.acme.billing.InvoiceJob.lambda$execute$",
                "com.acme.billing.InvoiceJob$$Lambda.run",
                "com.acme.Main$.run",
            ),
            ("com.acme.billing.PdfClient.render",),
        ),
    ),
    Trace(
        "go panic",
        Language.GO,
        GO_PANIC,
        ("panic",),
        ("runtime error: index out of range [5] with length 3",),
        (("github.com/acme/shop/orders.(*Service).Charge", "main.main.func", "main.main"),),
    ),
    Trace(
        "dotnet with a cause",
        Language.DOTNET,
        DOTNET,
        ("Shop.Jobs.InvoiceException", "System.TimeoutException"),
        ("invoice 9 failed", "The operation has timed out."),
        (("Shop.Jobs.InvoiceService.Render", "Shop.Jobs.Repository.Find"), ("Shop.Pdf.Client.RenderAsync",)),
    ),
    Trace(
        "elixir",
        Language.ELIXIR,
        ELIXIR,
        ("MyApp.Mailer.SMTPError",),
        ("connection refused",),
        (("MyApp.Workers.Mailer.perform/1",),),
    ),
    Trace(
        "php with a cause",
        Language.PHP,
        PHP,
        ("Illuminate\\Http\\Client\\ConnectionException", "GuzzleHttp\\Exception\\ConnectException"),
        ("cURL error 28", "timed out"),
        (("App\\Jobs\\SyncCrm->handle",), ("App\\Crm\\Api->post",)),
    ),
    Trace("php, numbered", Language.PHP, PHP_NUMBERED, ("",), ("",), (("App\\Jobs\\SyncCrm->handle",),)),
)
