"""Results → one HTML page that opens from disk: by Allure 3 where Node.js is, else by Allure 2 where Java is."""

from meshbdd.report.page.build import Built, build_page

__all__ = ["Built", "build_page"]
