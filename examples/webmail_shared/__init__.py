"""What the webmail examples share: pages, style, texts, demo accounts, notices to the owner.

The templates are Jinja2 and serve Flask and Django alike. A framework gives them these names and
nothing else of its own:

    url(name, **arguments)  address of a page; names are "inbox", "two_step.setup", "admin.account", …
    static(name)            address of a file of `static/`
    csrf_field()            the hidden field that the framework's CSRF check wants in each form
    flashes()               (category, text) of each message for this page, the same when asked twice;
                            the category is "message", "warning", "error", or the id of the field that
                            the text is about
    account                 who is using the page (`address`, `is_admin`), or None
    signed_in               True with a full session; False during sign-in and in the wizard that
                            must be finished first

`pages.prepare` adds filters that are no framework's.
"""
